// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: reading stretches of batches.

import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Reading from a log")
struct LogReadTests {
    let files = MemoryFileSystem()

    /// A log of `count` batches with 3 records and `size`-byte values each, in segments of `segmentBytes`.
    private func filled(count: Int, valueSize: Int = 100, segmentBytes: Int64 = 1 << 30) throws -> (Log, [ByteBuffer]) {
        var configuration = LogConfiguration()
        configuration.segmentBytes = segmentBytes
        configuration.indexIntervalBytes = 1_000
        let log = Log("r-0", files, configuration: configuration)
        var stored: [ByteBuffer] = []
        for number in 0..<count {
            let batch = TestBatch(timestamps: [1, 2, 3], valueSize: valueSize, seed: UInt8(truncatingIfNeeded: number))
            stored.append(batch.stored(at: try log.append(batch)))
        }
        try log.write()
        return (log, stored)
    }

    @Test(arguments: [Int64(1 << 30), 5_000, 700])
    func everyOffsetYieldsTheBatchThatContainsIt(segmentBytes: Int64) throws {
        let (log, stored) = try filled(count: 60, segmentBytes: segmentBytes)
        for offset in 0..<log.endOffset {
            #expect(try log.bytes(from: offset, maxBytes: 1) == stored[Int(offset / 3)])
        }
        // Backwards too: no remembered place helps here.
        for offset in (0..<log.endOffset).reversed() {
            #expect(try log.bytes(from: offset, maxBytes: 1) == stored[Int(offset / 3)])
        }
        #expect(try log.read(from: log.endOffset, maxBytes: 1) == nil)
    }

    @Test func aSliceHoldsAsManyWholeBatchesAsFit() throws {
        let (log, stored) = try filled(count: 60)
        let size = stored[0].readableBytes
        for maxBytes in stride(from: 0, through: size * 62, by: size / 3) {
            let count = min(60, max(1, maxBytes / size))
            let slice = try #require(try log.read(from: 0, maxBytes: maxBytes))
            #expect(slice.position == 0 && slice.length == count * size)
        }
    }

    @Test func aSliceEndsBeforeTheGivenOffset() throws {
        let (log, stored) = try filled(count: 60)
        let size = stored[0].readableBytes
        for below in stride(from: Int64(0), through: 180, by: 3) {
            let slice = try log.read(from: 0, maxBytes: .max / 2, below: below)
            #expect(slice?.length ?? 0 == Int(below / 3) * size)
        }
    }

    @Test func aSliceEndsWithItsSegment() throws {
        let (log, stored) = try filled(count: 10, segmentBytes: 1_000)
        let first = try #require(try log.read(from: 0, maxBytes: .max / 2))
        #expect(first.length == 2 * stored[0].readableBytes)
        let second = try #require(try log.read(from: 6, maxBytes: .max / 2))
        #expect(second.file !== first.file && second.position == 0)
    }

    @Test func readingOnFromSliceToSliceYieldsTheWholeLog() throws {
        let (log, stored) = try filled(count: 200, segmentBytes: 20_000)
        var offset: Int64 = 0
        var all = ByteBuffer()
        while var bytes = try log.bytes(from: offset, maxBytes: 1_500) {
            offset += Int64(bytes.readableBytes / stored[0].readableBytes * 3)
            all.writeBuffer(&bytes)
        }
        var expected = ByteBuffer()
        for batch in stored { expected.writeImmutableBuffer(batch) }
        #expect(offset == 600)
        #expect(all == expected)
    }

    @Test func anOffsetOutsideTheLogIsRefused() throws {
        let (log, _) = try filled(count: 2)
        for offset in [Int64(-1), 7, .max] {
            #expect(throws: StorageError(.offsetOutOfRange, "")) { try log.read(from: offset, maxBytes: 1) }
        }
    }

    @Test func aLongLogKeepsFewFilesOpen() throws {
        let (log, _) = try filled(count: 100, segmentBytes: 500)
        try log.syncNow()
        for offset in stride(from: Int64(0), to: 300, by: 3) { _ = try log.bytes(from: offset) }
        #expect(log.sealed.filter { $0.file != nil }.count <= StorageLimits.openSealedSegments)
    }
}
