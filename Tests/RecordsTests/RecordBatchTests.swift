// SPDX-License-Identifier: Apache-2.0
// Martlet, RecordsTests: building, reading, patching and searching batches.

import NIOCore
import Testing

@testable import Records

@Suite struct RecordBatchTests {
    @Test(arguments: CompressionType.allCases, [1, 2, 100, 5000])
    func whatWasBuiltIsRead(_ compression: CompressionType, _ count: Int) throws {
        let batch = Samples.batch(count: count, compression: compression)
        let header = try BatchBytes.header(of: batch)
        #expect(header.compression == compression)
        #expect(header.recordCount == Int32(count))
        #expect(header.sizeInBytes == batch.readableBytes)
        #expect(BatchBytes.isCRCValid(batch, header: header))
        #expect(try Samples.read(batch) == Samples.records(count: count))
    }

    @Test(arguments: CompressionType.allCases)
    func aMebibyteRecordSurvivesEveryCodec(_ compression: CompressionType) throws {
        var generator = SeededGenerator(seed: 1)
        var value = ByteBuffer()
        for _ in 0..<(1 << 17) { value.writeInteger(generator.next()) }
        var builder = RecordBatchBuilder(compression: compression)
        builder.append(key: nil, value: value, timestamp: Samples.nowMs)
        #expect(try Samples.read(builder.finish(), limit: 2 << 20).first?.value == value)
    }

    @Test func compressionMakesRepetitiveRecordsSmaller() {
        let plain = Samples.batch(count: 100, valueSize: 500).readableBytes
        for compression in CompressionType.allCases where compression != .none {
            #expect(
                Samples.batch(count: 100, compression: compression, valueSize: 500).readableBytes
                    < plain / 4)
        }
    }

    @Test func aBuilderIsFilledAgainAfterItHasFinished() throws {
        var builder = RecordBatchBuilder()
        builder.append(key: nil, value: Samples.bytes("first"), timestamp: 5)
        let first = builder.finish()
        #expect(builder.recordCount == 0)
        builder.append(key: nil, value: Samples.bytes("second"), timestamp: 9)
        #expect(try Samples.read(builder.finish()).map(\.value) == [Samples.bytes("second")])
        #expect(try Samples.read(first).map(\.timestamp) == [5])
    }

    @Test func offsetsAndEpochsAreAssignedWithoutTouchingTheChecksum() throws {
        var batch = Samples.batch(count: 3)
        BatchBytes.assign(baseOffset: 1_000_000_000_000, leaderEpoch: 7, in: &batch)
        let header = try BatchBytes.header(of: batch)
        #expect(header.partitionLeaderEpoch == 7)
        #expect(BatchBytes.isCRCValid(batch, header: header))
        #expect(
            try Samples.read(batch).map(\.offset) == [
                1_000_000_000_000, 1_000_000_000_001, 1_000_000_000_002,
            ])
    }

    @Test(arguments: CompressionType.allCases)
    func logAppendTimeReplacesEveryRecordsTimeInACopy(_ compression: CompressionType) throws {
        let batch = Samples.batch(count: 5, compression: compression)
        let before = ByteBuffer(bytes: batch.readableBytesView)
        let stamped = BatchBytes.withLogAppendTime(batch, nowMs: 42)
        #expect(batch == before)
        let header = try BatchBytes.header(of: stamped)
        #expect(header.isLogAppendTime)
        #expect(header.compression == compression)
        #expect(header.maxTimestamp == 42)
        #expect(header.baseTimestamp == Samples.nowMs)
        #expect(BatchBytes.isCRCValid(stamped, header: header))
        #expect(try Samples.read(stamped).map(\.timestamp) == [42, 42, 42, 42, 42])
    }

    @Test func searchByTimeFindsTheFirstRecordThatIsLateEnough() throws {
        var builder = RecordBatchBuilder(compression: .zstd)
        for timestamp: Int64 in [100, 90, 120, 120, 110] {
            builder.append(key: nil, value: nil, timestamp: timestamp)
        }
        let reader = try RecordBatchReader(
            builder.finish(baseOffset: 50), decompressor: Decompressor())
        #expect(try reader.firstRecord(atOrAfter: 0) == .init(offset: 50, timestamp: 100))
        #expect(try reader.firstRecord(atOrAfter: 101) == .init(offset: 52, timestamp: 120))
        #expect(
            try reader.firstRecord(atOrAfter: 101, startOffset: 54)
                == .init(offset: 54, timestamp: 110))
        #expect(try reader.firstRecord(atOrAfter: 121) == nil)
        #expect(try reader.recordWithMaxTimestamp() == .init(offset: 52, timestamp: 120))
    }

    @Test func aRunOfBatchesIsTakenOneByOneAndACutEndIsLeft() throws {
        var run = Samples.batch(count: 2)
        run.writeImmutableBuffer(Samples.batch(count: 3))
        run.writeImmutableBuffer(
            Samples.batch(count: 4).getSlice(at: 0, length: 70) ?? ByteBuffer())
        #expect(try BatchBytes.next(from: &run)?.header.recordCount == 2)
        #expect(try BatchBytes.next(from: &run)?.header.recordCount == 3)
        #expect(try BatchBytes.next(from: &run) == nil)
        #expect(run.readableBytes == 70)
    }

    @Test func aWalkStopsInTheMiddleAndGoesOn() throws {
        let reader = try RecordBatchReader(Samples.batch(count: 4), decompressor: Decompressor())
        var cursor = reader.start
        var offsets: [Int64] = []
        for _ in 0..<4 {
            let record = try unsafe reader.records.withUnsafeReadableBytes {
                try unsafe cursor.next(in: $0)
            }
            offsets.append(try #require(record).offset)
        }
        #expect(offsets == [0, 1, 2, 3])
        #expect(cursor.remaining == 0)
        #expect(cursor.position == reader.records.readableBytes)
    }

    @Test func uncompressedKeysAndValuesShareTheBatchsStorage() throws {
        let batch = Samples.batch(count: 3)
        var reader = try RecordBatchReader(batch, decompressor: Decompressor())
        let value = try #require(try reader.next()?.value)
        let isInside = unsafe batch.withUnsafeReadableBytes { outer in
            unsafe value.withUnsafeReadableBytes { inner in
                guard let first = outer.baseAddress, let found = inner.baseAddress else {
                    return false
                }
                return unsafe found > first && found < first + outer.count
            }
        }
        #expect(isInside)
    }

    @Test(arguments: [
        0, 1, -1, 63, 64, -64, -65, 8191, 8192, Int64.max, Int64.min, Int64(Int32.max),
    ])
    func varintsAreReadAsTheyWereWritten(_ value: Int64) {
        var buffer = ByteBuffer()
        buffer.writeVarint(value)
        #expect(buffer.readableBytes == Varint.size(value))
        let found: Int64? = unsafe buffer.withUnsafeReadableBytes { bytes in
            guard let base = bytes.baseAddress else { return nil }
            var reader = unsafe VarintReader(base: base, position: 0, end: bytes.count)
            let value = unsafe reader.varint()
            return unsafe reader.position == bytes.count ? value : nil
        }
        #expect(found == value)
    }
}
