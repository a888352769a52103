// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a reader that follows several partitions, for gRPC subscriptions.
//
// By default it reads committed records: up to each partition's last stable offset, and says which transactions were aborted.
//
// A cursor is a list of positions and nothing else: records stay in the log until the caller has room for them, so
// a slow reader costs this object. Confined to the event loop of its owner, who pulls with `next` and, when there
// is nothing, waits with `wait`.

import NIOCore
import Storage

package final class Cursor {
    package struct Position {
        package let partition: Partition
        /// Next offset to deliver.
        package var offset: Int64
        /// Stop before this offset; nil follows for ever.
        package var end: Int64?
        /// Its topic was deleted: there is nothing to read, and its place may be taken.
        package fileprivate(set) var isGone = false

        package init(partition: Partition, offset: Int64, end: Int64? = nil) {
            self.partition = partition
            self.offset = offset
            self.end = end
        }

        var isFinished: Bool { isGone || (end.map { offset >= $0 } ?? false) }
    }

    /// Some batches of one partition. The first may begin before `from`; skip those records.
    package struct Chunk {
        /// Index into `positions`.
        package var position: Int
        package var from: Int64
        package var slice: LogSlice
        package var offsets: PartitionOffsets
        /// Transactions whose batches are not to be delivered.
        package var aborted: [AbortedTransaction]
    }

    package private(set) var positions: [Position]
    /// The position that `next` looked at last, also if it threw.
    package private(set) var current = 0
    private let readsUncommitted: Bool
    private let hasEnd: Bool
    private var seenEnds: [Int64]
    private var turn = 0
    private var waiter: Waiter?

    /// `hasEnd`: it is finished when all positions have reached their ends, or there are none.
    package init(positions: [Position], readsUncommitted: Bool = false, hasEnd: Bool) {
        self.positions = positions
        self.readsUncommitted = readsUncommitted
        self.hasEnd = hasEnd
        seenEnds = positions.map(\.offset)
    }

    /// All positions reached their end.
    package var isFinished: Bool { hasEnd && positions.allSatisfy(\.isFinished) }

    /// The next batches, round robin over the partitions; nil if there is nothing to read now. The caller reports
    /// how far it got with `advance`.
    package func next(maxBytes: Int) throws(EngineError) -> Chunk? {
        for _ in positions.indices {
            let index = turn
            turn = (turn + 1) % positions.count
            current = index
            let position = positions[index]
            guard !position.isFinished else { continue }
            if let chunk = try read(index, maxBytes: maxBytes) { return chunk }
        }
        return nil
    }

    private func read(_ index: Int, maxBytes: Int) throws(EngineError) -> Chunk? {
        let position = positions[index]
        if readsUncommitted {
            let read = try position.partition.read(from: position.offset, maxBytes: maxBytes)
            seenEnds[index] = read.offsets.highWatermark
            return read.slice.map {
                Chunk(position: index, from: position.offset, slice: $0, offsets: read.offsets, aborted: [])
            }
        }
        let read = try position.partition.readCommitted(from: position.offset, maxBytes: maxBytes)
        seenEnds[index] = read.offsets.highWatermark
        return read.slice.map {
            Chunk(position: index, from: position.offset, slice: $0, offsets: read.offsets, aborted: read.aborted)
        }
    }

    /// Everything before `offset` of this position was delivered.
    package func advance(_ index: Int, to offset: Int64) {
        positions[index].offset = max(positions[index].offset, offset)
    }

    /// Adds a partition (a topic came or grew), in the place of one that is gone if there is one. Returns the place.
    package func add(_ position: Position) -> Int {
        if let free = positions.firstIndex(where: \.isGone) {
            positions[free] = position
            seenEnds[free] = position.offset
            return free
        }
        positions.append(position)
        seenEnds.append(position.offset)
        return positions.count - 1
    }

    /// The position's topic was deleted.
    package func remove(_ index: Int) {
        positions[index].isGone = true
    }

    /// Runs `onReady` on `loop`, once, when one of the partitions has more than `next` saw.
    package func wait(on loop: any EventLoop, onReady: @escaping @Sendable () -> Void) {
        let waiter = Waiter(loop: loop, bytesNeeded: 1, onReady: onReady)
        self.waiter = waiter
        waiter.arm(
            on: positions.indices.filter { !positions[$0].isFinished }.map {
                (positions[$0].partition, seenEnds[$0])
            }, deadline: nil)
    }

    /// The owner is gone.
    package func cancel() {
        waiter?.cancel()
        waiter = nil
    }
}
