// SPDX-License-Identifier: Apache-2.0
// Martlet, RecordsTests: bytes made to hurt. Nothing may trap; what is not sound is an error.

import NIOCore
import Testing

@testable import Records

@Suite struct HostileBytesTests {
    /// Walks everything a reader offers; true if the batch was sound to its end.
    private func walks(_ batch: ByteBuffer) -> Bool {
        guard
            let reader = try? RecordBatchReader(batch, decompressor: Decompressor(), limit: 1 << 20)
        else {
            return false
        }
        var copy = reader
        do throws(RecordError) {
            while try copy.next() != nil {}
            _ = try reader.firstRecord(atOrAfter: .max)
            _ = try reader.recordWithMaxTimestamp()
            return true
        } catch {
            return false
        }
    }

    @Test(arguments: CompressionType.allCases)
    func aBatchCutAtAnyByteIsNotWhole(_ compression: CompressionType) {
        let batch = Samples.batch(compression: compression)
        #expect(walks(batch))
        for size in 0..<batch.readableBytes {
            #expect(!walks(batch.getSlice(at: 0, length: size) ?? ByteBuffer()))
        }
    }

    @Test func recordsCutAtAnyByteUnderARightHeadAreAnError() {
        let batch = Samples.batch()
        for size in BatchHeader.size..<batch.readableBytes {
            let cut = batch.getSlice(at: 0, length: size) ?? ByteBuffer()
            let length = Int32(size - BatchHeader.logOverhead)
            #expect(!walks(Samples.patched(cut, at: 8, length)), "cut to \(size)")
        }
    }

    @Test(arguments: 0..<UInt64(40))
    func damagedRecordsAreReadOrRefusedButNeverTrap(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var sound = 0
        for compression in CompressionType.allCases {
            let batch = Samples.batch(compression: compression)
            for _ in 0..<100 {
                var damaged = ByteBuffer(bytes: batch.readableBytesView)
                for _ in 0..<Int.random(in: 1...4, using: &generator) {
                    let index = Int.random(
                        in: BatchHeader.size..<batch.readableBytes, using: &generator)
                    damaged.setInteger(
                        UInt8.random(in: .min ... .max, using: &generator), at: index)
                }
                BatchBytes.setCRC(in: &damaged)
                if walks(damaged) { sound += 1 }
                var rules = BatchRules()
                rules.depth = .allRecords
                rules.decompressedBytesMax = 1 << 20
                _ = try? BatchValidator(rules: rules).validate(damaged, nowMs: Samples.nowMs)
            }
        }
        // Some changes only touch keys and values: those must still be read. Most do harm.
        #expect(sound > 0 && sound < 500)
    }

    @Test(arguments: 0..<UInt64(20))
    func randomBytesAreRefused(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for size in [0, 1, 16, 17, 60, 61, 62, 200, 4096] {
            var bytes = ByteBuffer()
            for _ in 0..<size {
                bytes.writeInteger(UInt8.random(in: .min ... .max, using: &generator))
            }
            #expect(throws: RecordError.self) { try BatchValidator().validate(bytes, nowMs: 0) }
            guard size > 17 else { continue }
            bytes.setInteger(UInt8(2), at: 16)
            #expect(throws: RecordError.self) { try BatchValidator().validate(bytes, nowMs: 0) }
            bytes.setInteger(Int32(size - 12), at: 8)
            #expect(!walks(bytes))
        }
    }

    @Test func declaredCountsAndLengthsBuyNoMemory() {
        let batch = Samples.batch(count: 1)
        #expect(!walks(Samples.patched(batch, at: 57, Int32.max)))
        // The record's own length, its first byte after the head, as the longest varint.
        var bytes = ByteBuffer(bytes: batch.getBytes(at: 0, length: BatchHeader.size) ?? [])
        bytes.writeVarint(.max)
        #expect(!walks(Samples.patched(bytes, at: 8, Int32(bytes.readableBytes - 12))))
    }

    @Test func aHeaderCountBeyondTheRecordsBytesIsRefusedBeforeItIsBelieved() {
        var record = ByteBuffer()
        record.writeInteger(UInt8(0))
        for field: Int64 in [0, 0, -1, -1, 1_000_000_000] { record.writeVarint(field) }
        var batch = ByteBuffer(
            bytes: Samples.batch(count: 1).getBytes(at: 0, length: BatchHeader.size) ?? [])
        batch.writeVarint(Int64(record.readableBytes))
        batch.writeImmutableBuffer(record)
        #expect(!walks(Samples.patched(batch, at: 8, Int32(batch.readableBytes - 12))))
    }
}
