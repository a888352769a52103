// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWireTests: what the record stream writes is what swift-protobuf reads.

import Contract
import NIOCore
import Records
import SwiftProtobuf
import Testing

@testable import GRPCWire

/// Writes batches of one partition into messages and reads them back.
private struct Stream {
    var fields = RecordStreamWriter.partitionFields(topic: "orders", partition: 3)
    var limits = RecordStreamWriter.Limits(bytesMax: 1 << 20)
    var outcomes: [RecordStreamWriter.Outcome] = []

    mutating func messages(
        _ batches: [ByteBuffer], from start: Int64 = 0
    ) throws -> [Martlet_V1_SubscribeResponse] {
        var messages: [Martlet_V1_SubscribeResponse] = []
        var from = start
        for batch in batches {
            let reader = try RecordBatchReader(batch, decompressor: Decompressor())
            var cursor = reader.start
            var isReading = true
            while isReading {
                var buffer = ByteBuffer(string: "before")
                var writer = RecordStreamWriter(into: &buffer)
                writer.beginBatch(fields, highWatermark: 77, into: &buffer)
                let outcome = try writer.append(
                    reader.records, cursor: &cursor, from: &from, limits: limits, into: &buffer)
                writer.endBatch(in: &buffer)
                writer.finish(&buffer)
                outcomes.append(outcome)
                if let message = try unframed(&buffer) { messages.append(message) }
                isReading = outcome == .messageIsFull
            }
        }
        return messages
    }

    private func unframed(_ buffer: inout ByteBuffer) throws -> Martlet_V1_SubscribeResponse? {
        #expect(buffer.readString(length: 6) == "before")
        guard let flag = buffer.readInteger(as: UInt8.self) else { return nil }
        #expect(flag == 0)
        #expect(buffer.readInteger(as: UInt32.self).map(Int.init) == buffer.readableBytes)
        return try Martlet_V1_SubscribeResponse(serializedBytes: buffer.array)
    }
}

private func same(_ sent: Record, _ read: Martlet_V1_Record) -> Bool {
    sent.offset == read.offset && sent.timestamp == read.timestampMs
        && sent.key?.array == (read.hasKey ? Array(read.key) : nil)
        && sent.value?.array == (read.hasValue ? Array(read.value) : nil)
        && sent.headers.count == read.headers.count
        && zip(sent.headers, read.headers).allSatisfy {
            $0.key == $1.key && $0.value?.array == ($1.hasValue ? Array($1.value) : nil)
        }
}

@Suite struct RecordStreamWriterTests {
    @Test(arguments: 0..<60)
    func `Random batches arrive record for record, whatever the limits and the codec`(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        var stream = Stream()
        stream.limits.bytesMax = Int.random(in: 1...20_000, using: &random)
        stream.limits.recordsMax = Int.random(in: 1...50, using: &random)
        var offset = Int64.random(in: 0...1 << 40, using: &random)
        var sent: [Record] = []
        var batches: [ByteBuffer] = []
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            var records = (0..<Int.random(in: 1...80, using: &random)).map { _ in random.record() }
            let compression = CompressionType.allCases.randomElement(using: &random) ?? .none
            batches.append(records.batch(baseOffset: offset, compression: compression))
            for index in records.indices { records[index].offset = offset + Int64(index) }
            sent += records
            offset += Int64(records.count)
        }
        let messages = try stream.messages(batches)
        let read = messages.flatMap(\.batches).flatMap(\.records)
        #expect(read.count == sent.count)
        for (sent, read) in zip(sent, read) { #expect(same(sent, read), "seed \(seed)") }
        for message in messages {
            let batch = try #require(message.batches.first)
            #expect(batch.topic == "orders" && batch.partition == 3 && batch.highWatermark == 77)
            #expect(batch.records.count <= stream.limits.recordsMax)
        }
    }

    @Test func `Records before the wanted offset and from the end offset on are left out`() throws {
        var random = SplitMix(state: 1)
        var stream = Stream()
        stream.limits.endOffset = 107
        let batch = (0..<10).map { _ in random.record() }.batch(baseOffset: 100)
        let read = try stream.messages([batch], from: 104).flatMap(\.batches).flatMap(\.records)
        #expect(read.map(\.offset) == [104, 105, 106])
        #expect(stream.outcomes == [.endIsReached])
    }

    @Test func `A message without records is taken back whole`() throws {
        var random = SplitMix(state: 1)
        var stream = Stream()
        let batch = [random.record()].batch(baseOffset: 5)
        #expect(try stream.messages([batch], from: 6).isEmpty)
        #expect(stream.outcomes == [.batchIsRead])
    }

    @Test func `A record larger than the limit still goes, alone`() throws {
        var stream = Stream()
        stream.limits.bytesMax = 1000
        let records = [10, 50_000, 10].map {
            Record(
                offset: 0, timestamp: 1, key: nil, value: ByteBuffer(repeating: 7, count: $0))
        }
        let messages = try stream.messages([records.batch(baseOffset: 0)])
        #expect(messages.map { $0.batches.flatMap(\.records).count } == [1, 1, 1])
    }

    @Test func `A record beyond every message is reported, not sent`() throws {
        var stream = Stream()
        let records = [10, RecordStreamWriter.recordBytesMax].map {
            Record(offset: 0, timestamp: 1, key: nil, value: ByteBuffer(repeating: 7, count: $0))
        }
        let messages = try stream.messages([records.batch(baseOffset: 9)])
        #expect(messages.flatMap(\.batches).flatMap(\.records).map(\.offset) == [9])
        #expect(stream.outcomes == [.recordIsTooLarge(offset: 10)])
    }

    @Test func `A header key that is not UTF-8 is repaired and spoils nothing`() throws {
        let record = Record(
            offset: 0, timestamp: 1, key: nil, value: nil, headers: [RecordHeader(key: "ab", value: nil)])
        var batch = [record].batch(baseOffset: 0)
        let at = try #require(batch.readableBytesView.lastIndex(of: UInt8(ascii: "a")))
        batch.setInteger(UInt8(0xff), at: at)
        var stream = Stream()
        let read = try stream.messages([batch]).flatMap(\.batches).flatMap(\.records)
        #expect(read.first?.headers.map(\.key) == ["\u{fffd}b"])
    }

    @Test func `A timestamp of -1 and offsets of every length survive`() throws {
        var stream = Stream()
        for offset in [0, 127, 128, 1 << 14, 1 << 35, Int64.max >> 1] {
            let records = [Record(offset: 0, timestamp: -1, key: ByteBuffer(), value: nil)]
            let read = try stream.messages([records.batch(baseOffset: offset)]).flatMap(\.batches).flatMap(\.records)
            #expect(read.map(\.offset) == [offset])
            #expect(read.map(\.timestampMs) == [-1])
            #expect(read.first?.hasKey == true && read.first?.hasValue == false)
        }
    }

    @Test(arguments: 0..<100)
    func `Damaged records end in an error, never outside their bytes`(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        var batch = (0..<20).map { _ in random.record(valueBytes: 30) }.batch(baseOffset: 0)
        for _ in 0..<3 {
            let at = Int.random(in: BatchHeader.size..<batch.writerIndex, using: &random)
            batch.setInteger(UInt8.random(in: 0...255, using: &random), at: at)
        }
        var stream = Stream()
        // Whether the damage is seen depends on where it is; that it stays inside is checked by running this at all,
        // and that what was read is bounded by the batch's count.
        let read = (try? stream.messages([batch]))?.flatMap(\.batches).flatMap(\.records).count ?? 0
        #expect(read <= 20)
    }
}
