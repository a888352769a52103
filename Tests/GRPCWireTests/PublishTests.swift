// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWireTests: publish requests into record batches, and their responses.

import Contract
import FoundationEssentials
import NIOCore
import Records
import SwiftProtobuf
import Testing

@testable import GRPCWire

private func request(_ records: [Record], partition: Int32? = nil) -> Martlet_V1_PublishRequest {
    Martlet_V1_PublishRequest.with { request in
        request.topic = "orders"
        if let partition { request.partition = partition }
        request.records = records.map { record in
            .with {
                if let key = record.key { $0.key = .init(key.array) }
                if let value = record.value { $0.value = .init(value.array) }
                if record.timestamp >= 0 { $0.timestampMs = record.timestamp }
                $0.headers = record.headers.map { header in
                    .with {
                        $0.key = header.key
                        if let value = header.value { $0.value = .init(value.array) }
                    }
                }
            }
        }
    }
}

private func read(_ batch: PublishBatch) throws -> [Record] {
    var reader = try RecordBatchReader(batch.records, decompressor: Decompressor())
    var records: [Record] = []
    while let record = try reader.next() { records.append(record) }
    return records
}

@Suite struct PublishRequestReaderTests {
    @Test(arguments: 0..<40)
    func `Every record lands once, in order, in the partition of its key`(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        let sent = (0..<Int.random(in: 1...60, using: &random)).map { _ in random.record() }
        let bytes: [UInt8] = try request(sent).serializedBytes()
        let reader = try PublishRequestReader(ByteBuffer(bytes: bytes))
        #expect(reader.topic == "orders" && reader.partition == nil && reader.recordCount == sent.count)
        let batches = try reader.batches(partitionCount: 5, unkeyed: 4, nowMs: 1)
        #expect(Set(batches.map(\.partition)).count == batches.count)
        var seen = Set<Int32>()
        for batch in batches {
            let records = try read(batch)
            #expect(records.count == batch.positions.count)
            #expect(batch.positions == batch.positions.sorted())
            _ = try BatchValidator().validate(batch.records, nowMs: 2_000_000_000_000)
            for (record, position) in zip(records, batch.positions) {
                #expect(seen.insert(position).inserted)
                let original = sent[Int(position)]
                #expect(record.key == original.key && record.value == original.value)
                #expect(record.headers == original.headers && record.timestamp == original.timestamp)
                let expected = original.key.map { KeyPartitioner.partition(ofKey: $0, count: 5) } ?? 4
                #expect(batch.partition == expected)
            }
        }
        #expect(seen.count == sent.count)
    }

    @Test func `A given partition takes all records, and the broker's time fills in`() throws {
        let records = ["a", nil, "b"].map {
            Record(offset: 0, timestamp: -1, key: $0.map { ByteBuffer(string: $0) }, value: nil)
        }
        let bytes: [UInt8] = try request(records, partition: 9).serializedBytes()
        let batches = try PublishRequestReader(ByteBuffer(bytes: bytes)).batches(
            partitionCount: 1, unkeyed: 0, nowMs: 1234)
        #expect(batches.map(\.partition) == [9])
        #expect(batches.first?.positions == [0, 1, 2])
        #expect(try read(batches[0]).map(\.timestamp) == [1234, 1234, 1234])
    }

    @Test func `Fields in another order and unknown fields are taken`() throws {
        var bytes: [UInt8] = [0xc8, 0x01, 0x05, 0x1a, 0x05, 0x12, 0x01, 0x41, 0xc8, 0x3e]
        bytes[5] = 0x12
        // Record: value "A", then an unknown varint field 1001; before it an unknown varint field 25.
        bytes = [0xc8, 0x01, 0x05, 0x1a, 0x06, 0x12, 0x01, 0x41, 0xc8, 0x3e, 0x07, 0x0a, 0x01, 0x74]
        let reader = try PublishRequestReader(ByteBuffer(bytes: bytes))
        #expect(reader.topic == "t")
        let batches = try reader.batches(partitionCount: 1, unkeyed: 0, nowMs: 5)
        #expect(try read(batches[0]).first?.value == ByteBuffer(string: "A"))
    }

    @Test(arguments: [
        ([], "topic is empty"),
        ([0x0a, 0x01, 0x74], "records is empty"),
        ([0x0a, 0x05, 0x74], "not a martlet.v1.PublishRequest"),
        ([0x0a, 0x01, 0x74, 0x0b], "not a martlet.v1.PublishRequest"),
        ([0x0a, 0x01, 0x74, 0x10, 0xff], "not a martlet.v1.PublishRequest"),
        ([0x0a, 0x01, 0x74, 0x1a, 0x7f, 0x00], "not a martlet.v1.PublishRequest"),
        ([0x0a, 0x01, 0x74, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x1a, 0x00],
            "partition -1 is negative"),
    ] as [([UInt8], String)])
    func `What is no request is an invalid argument`(bytes: [UInt8], why: String) {
        #expect {
            try PublishRequestReader(ByteBuffer(bytes: bytes))
        } throws: { error in
            guard let status = error as? GRPCStatus else { return false }
            return status.code == .invalidArgument && status.message.contains(why)
        }
    }

    @Test func `A stream's request that is none is called by its own name`() {
        #expect {
            try PublishRequestReader(parsing: ByteBuffer(bytes: [0x0a, 0x05, 0x74]))
        } throws: { ($0 as? GRPCStatus)?.message.contains("not a martlet.v1.PublishStreamRequest") == true }
    }

    @Test(arguments: [
        ([0x12, 0x05, 0x41], "not a martlet.v1.PublishRecord"),
        ([0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "negative timestamp_ms -1"),
        ([0x1a, 0x03, 0x0a, 0x01, 0xff], "not UTF-8"),
        ([0x1a, 0x03, 0x0a, 0x02, 0xff], "not a martlet.v1.PublishRecord"),
    ] as [([UInt8], String)])
    func `What is no record is an invalid argument`(record: [UInt8], why: String) throws {
        let bytes: [UInt8] = [0x0a, 0x01, 0x74, 0x1a, UInt8(record.count)] + record
        let reader = try PublishRequestReader(ByteBuffer(bytes: bytes))
        #expect {
            try reader.batches(partitionCount: 1, unkeyed: 0, nowMs: 1)
        } throws: { error in
            guard let status = error as? GRPCStatus else { return false }
            return status.code == .invalidArgument && status.message.contains(why)
        }
    }

    @Test func `A thousand headers are taken, one more is not`() throws {
        for (count, isTaken) in [(1000, true), (1001, false)] {
            let record = Record(
                offset: 0, timestamp: 1, key: nil, value: nil,
                headers: (0..<count).map { RecordHeader(key: "\($0)", value: nil) })
            let bytes: [UInt8] = try request([record]).serializedBytes()
            let reader = try PublishRequestReader(ByteBuffer(bytes: bytes))
            let batches = try? reader.batches(partitionCount: 1, unkeyed: 0, nowMs: 1)
            #expect((batches != nil) == isTaken)
        }
    }

    @Test(arguments: 0..<300)
    func `Random changes never do worse than an error`(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        var bytes: [UInt8] = try request((0..<3).map { _ in random.record(valueBytes: 20) }).serializedBytes()
        let original = bytes.count
        for _ in 0..<4 {
            let at = Int.random(in: 0..<bytes.count, using: &random)
            bytes[at] = UInt8.random(in: 0...255, using: &random)
        }
        if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
        do throws(GRPCStatus) {
            let reader = try PublishRequestReader(ByteBuffer(bytes: bytes))
            let batches = try reader.batches(partitionCount: 3, unkeyed: 0, nowMs: 1)
            #expect(batches.reduce(0) { $0 + $1.records.readableBytes } <= 4 * original + 3 * 200)
        } catch {
            #expect(error.code == .invalidArgument)
        }
    }
}

@Suite struct PublishResponseWriterTests {
    @Test func `swift-protobuf reads what is written`() throws {
        let batches = [
            PublishedBatch(partition: 0, baseOffset: 0, positions: [0], logAppendTimeMs: -1),
            PublishedBatch(partition: 300, baseOffset: 1 << 40, positions: [1, 200, 70_000], logAppendTimeMs: 5),
        ]
        var buffer = ByteBuffer()
        PublishResponseWriter.write(batches, into: &buffer)
        let response = try Martlet_V1_PublishResponse(serializedBytes: buffer.array)
        #expect(response.batches.count == 2)
        for (read, sent) in zip(response.batches, batches) {
            #expect(read.partition == sent.partition && read.baseOffset == sent.baseOffset)
            #expect(read.recordPositions == sent.positions)
            #expect((read.hasLogAppendTimeMs ? read.logAppendTimeMs : -1) == sent.logAppendTimeMs)
        }
        #expect(try response.serializedBytes() as [UInt8] == buffer.array)
    }
}

@Suite struct ProtobufVarintTests {
    @Test(arguments: (0..<64).flatMap { shift in [UInt64(1) << UInt64(shift), (UInt64(1) << UInt64(shift)) - 1] } + [.max])
    func `A number is written as swift-protobuf writes it`(value: UInt64) throws {
        var buffer = ByteBuffer()
        buffer.writeProtobufVarint(value)
        var message = Martlet_V1_PublishRecord()
        message.timestampMs = Int64(bitPattern: value)
        let expected: [UInt8] = try message.serializedBytes()
        #expect(Array(buffer.readableBytesView) == (value == 0 ? [0] : Array(expected.dropFirst())))
        #expect(buffer.readProtobufVarint() == value && buffer.readableBytes == 0)
    }
}
