// SPDX-License-Identifier: Apache-2.0
// Martlet, RecordsTests: batches made by kafka-python, aiokafka and librdkafka are read and taken.

import NIOCore
import Testing

@testable import Records

extension CapturedBatches {
    /// What every captured batch holds (see RECORDS in capture_batches.py).
    static let records: [Record] = [
        Record(
            offset: 0, timestamp: Samples.nowMs, key: Samples.bytes("key one"),
            value: Samples.bytes(String(repeating: "martlet ", count: 40)),
            headers: [
                RecordHeader(key: "first", value: ByteBuffer(bytes: [0x00, 0x01, 0xff])),
                RecordHeader(key: "second", value: nil),
            ]),
        Record(
            offset: 1, timestamp: Samples.nowMs + 7, key: nil, value: Samples.bytes("value two")),
        Record(
            offset: 2, timestamp: Samples.nowMs + 3, key: Samples.bytes("key three"), value: nil,
            headers: [RecordHeader(key: "empty", value: ByteBuffer())]),
    ]

    static let all: [(name: String, compression: CompressionType, hex: String)] = [
        ("kafka-python", .none, kafkaPython_none), ("aiokafka", .none, aiokafka_none),
        ("librdkafka", .none, librdkafka_none), ("kafka-python", .gzip, kafkaPython_gzip),
        ("aiokafka", .gzip, aiokafka_gzip), ("librdkafka", .gzip, librdkafka_gzip),
        ("kafka-python", .snappy, kafkaPython_snappy), ("aiokafka", .snappy, aiokafka_snappy),
        ("librdkafka", .snappy, librdkafka_snappy), ("kafka-python", .lz4, kafkaPython_lz4),
        ("aiokafka", .lz4, aiokafka_lz4), ("librdkafka", .lz4, librdkafka_lz4),
        ("kafka-python", .zstd, kafkaPython_zstd), ("aiokafka", .zstd, aiokafka_zstd),
        ("librdkafka", .zstd, librdkafka_zstd),
        ("librdkafka idempotent", .none, librdkafka_idempotent),
    ]
}

@Suite struct InteropTests {
    @Test(arguments: 0..<CapturedBatches.all.count)
    func aBatchOfAnotherClientIsReadWithAllItsRecords(_ index: Int) throws {
        let (_, compression, hex) = CapturedBatches.all[index]
        let batch = Samples.hex(hex)
        let header = try #require(BatchHeader(batch))
        #expect(header.compression == compression)
        #expect(BatchBytes.isCRCValid(batch, header: header))
        #expect(try Samples.read(batch) == CapturedBatches.records)
    }

    @Test(arguments: 0..<CapturedBatches.all.count)
    func aBatchOfAnotherClientPassesTheDeepestValidation(_ index: Int) throws {
        let (_, _, hex) = CapturedBatches.all[index]
        var rules = BatchRules()
        rules.depth = .allRecords
        let verdict = try BatchValidator(rules: rules).validate(
            Samples.hex(hex), nowMs: Samples.nowMs)
        #expect(verdict.correctedMaxTimestamp == nil)
        #expect(verdict.header.recordCount == 3)
    }

    @Test func bothShapesOfSnappyAreAmongTheCapturedBatches() {
        let xerial: [UInt8] = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]
        let framed = [CapturedBatches.kafkaPython_snappy, CapturedBatches.librdkafka_snappy].map {
            Samples.hex($0).getBytes(at: BatchHeader.size, length: 8) == xerial
        }
        #expect(framed == [true, false])
    }

    @Test func anUncompressedBatchIsBuiltAsKafkaPythonBuildsIt() {
        var builder = RecordBatchBuilder()
        for record in CapturedBatches.records {
            builder.append(
                key: record.key, value: record.value, headers: record.headers,
                timestamp: record.timestamp)
        }
        #expect(builder.finish(leaderEpoch: 0) == Samples.hex(CapturedBatches.kafkaPython_none))
    }

    @Test func anIdempotentBatchCarriesItsProducer() throws {
        let header = try #require(BatchHeader(Samples.hex(CapturedBatches.librdkafka_idempotent)))
        #expect(header.producerId >= 0)
        #expect(header.producerEpoch == 0)
        #expect(header.baseSequence == 0)
    }
}
