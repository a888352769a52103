// SPDX-License-Identifier: Apache-2.0
// Martlet, RecordsTests: what a producer may send, and how each fault is refused.

import NIOCore
import Testing

@testable import Records

@Suite struct BatchValidatorTests {
    /// How the validator answers: nil if the batch passes.
    private func refusal(
        _ batch: ByteBuffer, nowMs: Int64 = Samples.nowMs, allowsZstd: Bool = true,
        _ change: (inout BatchRules) -> Void = { _ in }
    ) -> RecordError? {
        var rules = BatchRules()
        change(&rules)
        do throws(RecordError) {
            _ = try BatchValidator(rules: rules).validate(
                batch, nowMs: nowMs, allowsZstd: allowsZstd)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: CompressionType.allCases)
    func aSoundBatchPassesAtEveryDepth(_ compression: CompressionType) {
        let batch = Samples.batch(compression: compression)
        for depth in [BatchRules.Depth.head, .uncompressedRecords, .allRecords] {
            #expect(refusal(batch) { $0.depth = depth } == nil)
        }
        let producer = RecordBatchBuilder.Producer(id: 4, epoch: 0, baseSequence: 17)
        #expect(refusal(Samples.batch(producer: producer)) == nil)
    }

    @Test func noBatchAndTwoBatchesAreInvalid() {
        #expect(refusal(ByteBuffer())?.code == .invalidRecord)
        var two = Samples.batch()
        two.writeImmutableBuffer(Samples.batch())
        #expect(refusal(two)?.code == .invalidRecord)
    }

    @Test func bytesAfterTheBatchAndABatchCutShortAreCorrupt() {
        var long = Samples.batch()
        long.writeInteger(UInt8(0))
        #expect(refusal(long)?.code == .corruptMessage)
        let whole = Samples.batch()
        for size in 1..<whole.readableBytes {
            #expect(
                refusal(whole.getSlice(at: 0, length: size) ?? ByteBuffer())?.code
                    == .corruptMessage)
        }
    }

    @Test(arguments: [Int32.min, -1, 0, 48, 0x7fff_ffff])
    func anAbsurdLengthIsCorrupt(_ length: Int32) {
        #expect(refusal(Samples.patched(Samples.batch(), at: 8, length))?.code == .corruptMessage)
    }

    @Test func oldMessageFormatsAreToldApartFromDamage() {
        for magic: Int8 in [0, 1] {
            #expect(
                refusal(Samples.patched(Samples.batch(), at: 16, magic))?.code == .unsupportedMagic)
            var short = ByteBuffer(repeating: 0, count: 34)
            short.setInteger(magic, at: 16)
            #expect(refusal(short)?.code == .unsupportedMagic)
        }
        for magic: Int8 in [3, -1, 127] {
            #expect(
                refusal(Samples.patched(Samples.batch(), at: 16, magic))?.code == .corruptMessage)
        }
    }

    @Test func everyFlippedBitThatTheChecksumCoversIsFound() {
        let batch = Samples.batch(count: 2)
        for index in BatchHeader.crcStart..<batch.readableBytes {
            var damaged = ByteBuffer(bytes: batch.readableBytesView)
            let byte: UInt8 = batch.getInteger(at: index) ?? 0
            // Bit 3 of the last attributes byte and the codec bits are looked at before the
            // checksum.
            damaged.setInteger(byte ^ 0x80, at: index)
            #expect(refusal(damaged)?.code == .corruptMessage, "byte \(index)")
        }
    }

    @Test func aBatchLargerThanTheTopicTakesIsRefusedBySize() {
        let batch = Samples.batch()
        #expect(refusal(batch) { $0.maxMessageBytes = batch.readableBytes } == nil)
        #expect(
            refusal(batch) { $0.maxMessageBytes = batch.readableBytes - 1 }?.code
                == .messageTooLarge)
    }

    @Test(arguments: [Int16(5), 6, 7])
    func unknownCompressionIsRefused(_ code: Int16) {
        #expect(
            refusal(Samples.patched(Samples.batch(), at: 21, code))?.code == .unsupportedCompression
        )
    }

    @Test func zstdNeedsARequestThatMayCarryIt() {
        let batch = Samples.batch(compression: .zstd)
        #expect(refusal(batch, allowsZstd: false)?.code == .unsupportedCompression)
        #expect(refusal(Samples.batch(compression: .lz4), allowsZstd: false) == nil)
    }

    @Test func headsThatContradictThemselvesAreInvalid() {
        let batch = Samples.batch(count: 10)
        let changes: [(String, ByteBuffer)] = [
            (
                "no records",
                Samples.patched(Samples.patched(batch, at: 57, Int32(0)), at: 23, Int32(-1))
            ),
            ("negative count", Samples.patched(batch, at: 57, Int32(-1))),
            ("count and last offset differ", Samples.patched(batch, at: 23, Int32(10))),
            ("base offset", Samples.patched(batch, at: 0, Int64(1))),
            ("control batch", Samples.patched(batch, at: 21, Int16(0x20))),
            ("transactional without producer", Samples.patched(batch, at: 21, Int16(0x10))),
            ("producer without sequence", Samples.patched(batch, at: 43, Int64(5))),
            ("negative producer id", Samples.patched(batch, at: 43, Int64(-2))),
        ]
        for (name, changed) in changes {
            #expect(refusal(changed) { $0.depth = .head }?.code == .invalidRecord, "\(name)")
        }
    }

    @Test func timestampsAreHeldToTheBoundsOfTheTopic() {
        let batch = Samples.batch()
        let bounds: (inout BatchRules) -> Void = {
            $0.timestampBeforeMaxMs = 1000
            $0.timestampAfterMaxMs = 2000
        }
        #expect(refusal(batch, nowMs: Samples.nowMs + 1000, bounds) == nil)
        #expect(refusal(batch, nowMs: Samples.nowMs + 1001, bounds)?.code == .invalidTimestamp)
        // The latest record is 4 ms after the first.
        #expect(refusal(batch, nowMs: Samples.nowMs - 1996, bounds) == nil)
        #expect(refusal(batch, nowMs: Samples.nowMs - 1997, bounds)?.code == .invalidTimestamp)
        #expect(
            refusal(batch, nowMs: Samples.nowMs + 5000) {
                bounds(&$0)
                $0.isLogAppendTime = true
            } == nil)
    }

    @Test(arguments: [Int64.max, Int64.min, Int64.min + 1])
    func absurdTimestampsAreRefusedWithoutOverflow(_ timestamp: Int64) {
        var builder = RecordBatchBuilder()
        builder.append(key: nil, value: nil, timestamp: timestamp)
        let found = refusal(builder.finish()) { $0.timestampBeforeMaxMs = 1000 }
        #expect(found?.code == .invalidTimestamp)
    }

    @Test func aProducerMayLeaveTimeOutButNotClaimLogAppendTime() {
        var builder = RecordBatchBuilder()
        builder.append(key: nil, value: nil, timestamp: -1)
        let bounds: (inout BatchRules) -> Void = { $0.timestampBeforeMaxMs = 1000 }
        #expect(refusal(builder.finish(), bounds) == nil)
        let claimed = Samples.patched(Samples.batch(), at: 21, Int16(0x08))
        #expect(refusal(claimed)?.code == .invalidTimestamp)
    }

    @Test(arguments: CompressionType.allCases)
    func aCompactedTopicTakesOnlyRecordsWithKeys(_ compression: CompressionType) {
        let batch = Samples.batch(count: 4, compression: compression)
        #expect(refusal(batch) { $0.requiresKeys = true }?.code == .invalidRecord)
        var builder = RecordBatchBuilder(compression: compression)
        builder.append(key: Samples.bytes("k"), value: nil, timestamp: Samples.nowMs)
        #expect(refusal(builder.finish()) { $0.requiresKeys = true } == nil)
    }

    @Test func recordsThatDoNotMatchTheHeadAreFoundByTheWalkOnly() {
        let three = Samples.batch(count: 3)
        let declaresFour = Samples.patched(
            Samples.patched(three, at: 57, Int32(4)), at: 23, Int32(3))
        let declaresTwo = Samples.patched(
            Samples.patched(three, at: 57, Int32(2)), at: 23, Int32(1))
        for batch in [declaresFour, declaresTwo] {
            #expect(refusal(batch) { $0.depth = .head } == nil)
            #expect(refusal(batch)?.code == .invalidRecord)
        }
    }

    @Test func compressedRecordsAreWalkedOnlyWhenAsked() {
        let three = Samples.batch(count: 3, compression: .gzip)
        let declaresFour = Samples.patched(
            Samples.patched(three, at: 57, Int32(4)), at: 23, Int32(3))
        #expect(refusal(declaresFour) == nil)
        #expect(refusal(declaresFour) { $0.depth = .allRecords }?.code == .invalidRecord)
    }

    @Test func aWrongOffsetDeltaIsInvalid() {
        // One record, no key, no value: length, attributes, timestamp delta, offset delta.
        var builder = RecordBatchBuilder()
        builder.append(key: nil, value: nil, timestamp: Samples.nowMs)
        #expect(
            refusal(Samples.patched(builder.finish(), at: 64, UInt8(2)))?.code == .invalidRecord)
    }

    @Test func aWrongMaximumTimestampIsReportedWithTheRightOne() throws {
        let wrong = Samples.patched(Samples.batch(count: 5), at: 35, Samples.nowMs + 99)
        let verdict = try BatchValidator().validate(wrong, nowMs: Samples.nowMs)
        let right = try #require(verdict.correctedMaxTimestamp)
        #expect(right == Samples.records(count: 5).map(\.timestamp).max())
        let corrected = BatchBytes.withMaxTimestamp(wrong, right)
        #expect(
            try BatchValidator().validate(corrected, nowMs: Samples.nowMs).correctedMaxTimestamp
                == nil)
    }

    @Test func aBombIsRefusedWithinItsLimit() {
        for compression in CompressionType.allCases where compression != .none {
            let batch = Samples.batch(count: 1, compression: compression, valueSize: 8 << 20)
            #expect(batch.readableBytes < 1 << 20)
            let found = refusal(batch) {
                $0.depth = .allRecords
                $0.decompressedBytesMax = 1 << 20
            }
            #expect(found?.code == .decompressedTooLarge, "\(compression)")
        }
    }
}
