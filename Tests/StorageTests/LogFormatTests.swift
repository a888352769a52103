// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: the files are Kafka's, byte for byte.

import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Files in Kafka's format")
struct LogFormatTests {
    /// Five batches of 200 bytes, an index entry after every 300 bytes; worked out by hand from Kafka's LogSegment.append.
    @Test func logAndIndexFilesHoldTheseBytes() throws {
        let files = MemoryFileSystem()
        var configuration = LogConfiguration()
        configuration.indexIntervalBytes = 300
        configuration.segmentBytes = 1_000
        let log = Log("k-0", files, configuration: configuration)
        let timestamps: [Int64] = [0x100, 0x300, 0x200, 0x300, 0x400]
        var stored = ByteBuffer()
        for (number, timestamp) in timestamps.enumerated() {
            let batch = TestBatch.sized(200, timestamp: timestamp)
            try log.append(batch)
            stored.writeImmutableBuffer(batch.stored(at: Int64(number)))
        }
        try log.append(TestBatch.sized(200, timestamp: 0x500))
        try log.write()

        #expect(try files.contents("k-0/00000000000000000000.log") == Array(stored.readableBytesView))
        // Offset 2 at 400 and offset 4 at 800: both follow more than 300 bytes without an entry.
        #expect(
            try files.contents("k-0/00000000000000000000.index") == [
                0, 0, 0, 2, 0, 0, 0x01, 0x90,
                0, 0, 0, 4, 0, 0, 0x03, 0x20,
            ])
        // At the first entry the highest timestamp is that of offset 1, at the second that of offset 4; at the
        // roll nothing has grown.
        #expect(
            try files.contents("k-0/00000000000000000000.timeindex") == [
                0, 0, 0, 0, 0, 0, 0x03, 0, 0, 0, 0, 1,
                0, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 4,
            ])
        #expect(try files.contents("k-0/00000000000000000005.log").count == 200)
        #expect(try Set(files.list("k-0")).isSuperset(of: ["00000000000000000005.log"]))
    }

    @Test func theTimeIndexEndsWithTheHighestTimestampWhenASegmentIsRolled() throws {
        let files = MemoryFileSystem()
        let log = Log("k-0", files)
        try log.append(TestBatch(timestamps: [5, 9, 7]))
        try log.append(TestBatch(timestamps: [8]))
        try log.roll()
        #expect(
            try files.contents("k-0/00000000000000000000.timeindex") == [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2])
        #expect(try files.contents("k-0/00000000000000000000.index") == [])
    }

    @Test func aNegativeTimestampIsNotIndexed() throws {
        let files = MemoryFileSystem()
        let log = Log("k-0", files)
        try log.append(TestBatch(timestamps: [-1]))
        try log.roll()
        #expect(log.sealed.first?.index.times == [])
    }

    @Test func segmentsAreNamedByTheirBaseOffsetInTwentyDigits() {
        #expect(SegmentFileName.log(0) == "00000000000000000000.log")
        #expect(SegmentFileName.timeIndex(.max) == "09223372036854775807.timeindex")
        #expect(SegmentFileName.baseOffset(ofLog: "00000000000000001234.log") == 1234)
        for name in ["1234.log", "0000000000000000000a.log", "-0000000000000000001.log", "00000000000000000000.index"] {
            #expect(SegmentFileName.baseOffset(ofLog: name) == nil)
        }
    }
}
