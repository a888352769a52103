// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the order in which changes to committed offsets are written and settled.

import NIOCore
import Testing

@testable import Engine

/// The queue behind a reference, so that expectations can change it.
private final class Queue {
    private var it = OffsetWriteQueue()

    func add(_ write: OffsetWrite) -> Bool { it.add(write) }
    func next(changesMax: Int) -> OffsetWriteQueue.Batch? { it.next(changesMax: changesMax) }
    func appended() -> Bool { it.appended() }
    func completed(_ id: UInt64, _ result: Result<Void, GroupError>) -> [OffsetWriteQueue.Batch] {
        it.completed(id, result)
    }
    func hasWrites(of group: String) -> Bool { it.hasWrites(of: group) }
    func keys(where matches: (OffsetKey) -> Bool) -> Set<OffsetKey> { it.keys(where: matches) }
    var changesInFlight: Int { it.changesInFlight }
}

@Suite struct OffsetWriteQueueTests {
    private func write(_ group: String, _ partitions: ClosedRange<Int32> = 0...0) -> OffsetWrite {
        OffsetWrite(
            changes: partitions.map {
                OffsetChange(key: OffsetKey(groupId: group, topic: "t", partition: $0), offset: nil)
            }, groups: [group])
    }

    @Test func `Writes of one turn share a batch, and only the first asks for a flush`() throws {
        let queue = Queue()
        #expect(queue.add(write("a")))
        #expect(!queue.add(write("b")))
        let batch = try #require(queue.next(changesMax: 100))
        #expect(batch.writes.map(\.groups) == [["a"], ["b"]])
        #expect(!queue.appended())
        #expect(queue.add(write("c")))
    }

    @Test func `A write that comes during an append is flushed after it`() throws {
        let queue = Queue()
        #expect(queue.add(write("a")))
        _ = queue.next(changesMax: 100)
        #expect(!queue.add(write("b")))
        #expect(queue.appended())
        #expect(queue.next(changesMax: 100)?.writes.map(\.groups) == [["b"]])
        #expect(!queue.appended())
    }

    @Test func `A batch ends before it would be too large, but a large write is not split`() {
        let queue = Queue()
        _ = queue.add(write("a", 0...1))
        _ = queue.add(write("b", 0...1))
        _ = queue.add(write("c", 0...9))
        _ = queue.add(write("d"))
        var sizes: [Int] = []
        repeat { sizes.append(queue.next(changesMax: 4)?.writes.count ?? 0) } while queue.appended()
        #expect(sizes == [2, 1, 1])
    }

    @Test func `Batches settle in the order in which they were written`() throws {
        let queue = Queue()
        var ids: [UInt64] = []
        for group in ["a", "b", "c"] {
            _ = queue.add(write(group))
            ids.append(try #require(queue.next(changesMax: 1)).id)
            _ = queue.appended()
        }
        #expect(queue.completed(ids[2], .success(())).isEmpty)
        #expect(queue.completed(ids[1], .failure(.notCoordinator)).isEmpty)
        #expect(queue.hasWrites(of: "c"))
        let settled = queue.completed(ids[0], .success(()))
        #expect(settled.map(\.id) == ids)
        #expect(!queue.hasWrites(of: "c"))
        #expect(queue.changesInFlight == 0)
        #expect(queue.completed(ids[0], .success(())).isEmpty)
    }

    @Test func `Keys on their way are found, whether waiting or in flight`() {
        let queue = Queue()
        #expect(queue.keys { _ in true }.isEmpty)
        _ = queue.add(write("a", 0...1))
        _ = queue.next(changesMax: 100)
        _ = queue.add(write("b"))
        #expect(queue.keys { _ in true }.count == 3)
        #expect(queue.keys { $0.groupId == "a" }.count == 2)
        #expect(queue.changesInFlight == 3)
    }
}
