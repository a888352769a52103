// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: offsets by time.

import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Offsets by time")
struct LogTimestampTests {
    private let files = MemoryFileSystem()

    private func log(_ batches: [[Int64]], segmentBytes: Int64 = 1 << 30) throws -> Log {
        var configuration = LogConfiguration()
        configuration.segmentBytes = segmentBytes
        configuration.indexIntervalBytes = 100
        let log = Log("t-0", files, configuration: configuration)
        for timestamps in batches { try log.append(TestBatch(timestamps: timestamps)) }
        try log.write()
        return log
    }

    /// What a walk over all records yields.
    private func expected(_ batches: [[Int64]], atOrAfter timestamp: Int64, from start: Int64 = 0) -> Int64? {
        let all = batches.joined()
        return zip(Int64(0)..., all).first { $0 >= start && $1 >= timestamp }?.0
    }

    private let batches: [[Int64]] = (0..<60).map { number in
        let base = Int64(number * 10)
        return [base, base - 35, base + 5]
    }

    @Test(arguments: [Int64(1 << 30), 1_000, 150])
    func theFirstRecordAtOrAfterATimestampIsFoundExactly(segmentBytes: Int64) throws {
        let log = try log(batches, segmentBytes: segmentBytes)
        for timestamp in Int64(-2)...610 {
            let found = try log.offset(forTimestamp: timestamp)
            #expect(found?.offset == expected(batches, atOrAfter: timestamp), "timestamp \(timestamp)")
            if let found { #expect(found.timestamp >= timestamp) }
        }
    }

    @Test func recordsBelowTheStartOffsetAreNotFound() throws {
        let log = try log(batches, segmentBytes: 1_000)
        for start in [Int64(1), 31, 100] {
            try log.deleteRecords(before: start)
            for timestamp in stride(from: Int64(0), to: 600, by: 7) {
                #expect(
                    try log.offset(forTimestamp: timestamp)?.offset
                        == expected(batches, atOrAfter: timestamp, from: start))
            }
        }
    }

    @Test(arguments: [Int64(1 << 30), 200])
    func theRecordWithTheHighestTimestampIsFound(segmentBytes: Int64) throws {
        let log = try log([[1, 2], [50, 90, 60], [90, 3], [4]], segmentBytes: segmentBytes)
        let found = try log.offsetOfMaxTimestamp()
        #expect(found?.offset == 3 && found?.timestamp == 90)
    }

    @Test func theHighestTimestampIsLookedForAboveTheStartOffset() throws {
        let log = try log([[90], [10], [40, 30], [20]])
        try log.deleteRecords(before: 1)
        let found = try log.offsetOfMaxTimestamp()
        #expect(found?.offset == 2 && found?.timestamp == 40)
    }

    @Test func anEmptyLogHasNoOffsetForAnyTime() throws {
        let log = try log([])
        #expect(try log.offset(forTimestamp: 0) == nil)
        #expect(try log.offsetOfMaxTimestamp() == nil)
    }

    @Test func batchesThatAreNotWrittenAreNotFound() throws {
        let log = try log([[5]])
        try log.append(TestBatch(timestamps: [9]))
        #expect(try log.offset(forTimestamp: 6) == nil)
        #expect(try log.offsetOfMaxTimestamp()?.timestamp == 5)
    }

    @Test func damagedBatchesAreSteppedOver() throws {
        let disk = SimulatedFileSystem(seed: 1)
        let log = Log("t-0", disk)
        for number in 0..<5 { try log.append(TestBatch(timestamps: [Int64(number * 10)])) }
        try log.write()
        let size = TestBatch().bytes.readableBytes
        disk.flipBit(0, ofByte: 2 * size + 16, in: "t-0/00000000000000000000.log")
        #expect(try log.offset(forTimestamp: 15)?.offset == 3)
        #expect(log.quarantined.map(\.offsets) == [2..<3])
        #expect(try log.offsetOfMaxTimestamp()?.offset == 4)
    }
}
