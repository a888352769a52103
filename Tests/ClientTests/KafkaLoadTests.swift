// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: reading answers at fixed places, checked against the messages' own
// encoding.

import Bytes
import KafkaWire
import NIOCore
import Records
import Testing

@testable import Client

@Suite struct ProduceAnswerTests {
    @Test(arguments: Int16(3)...11, ["t", String(repeating: "x", count: 200)])
    func theErrorCodeIsWhereItIsLookedFor(_ version: Int16, _ topic: String) throws {
        var response = ProduceResponse()
        let partition = ProduceResponse.Partition(
            index: 3, errorCode: .kafkaStorageError, baseOffset: 77)
        response.topics = [ProduceResponse.Topic(name: topic, partitions: [partition])]
        var frame = ByteBuffer()
        try Frame.write(
            response, version: version, correlationId: ProduceLoad.correlationId, into: &frame)
        let position = ProduceLoad.errorPosition(topic: topic, version: version)
        #expect(
            frame.getInteger(at: 4 + position, as: Int16.self)
                == KafkaErrorCode.kafkaStorageError.rawValue)
    }
}

@Suite struct FetchAnswerScannerTests {
    private static let id = FetchLoad.correlationId

    private func batch(_ count: Int, at offset: Int64) -> ByteBuffer {
        var builder = RecordBatchBuilder()
        for index in 0..<count {
            builder.append(
                key: nil, value: ByteBuffer(string: "value \(index)"), timestamp: Int64(index))
        }
        return builder.finish(baseOffset: offset)
    }

    private func answer(
        _ records: ByteBuffer?, version: Int16 = 11, code: KafkaErrorCode = .none
    ) throws -> ByteBuffer {
        var partition = FetchResponse.Partition()
        partition.errorCode = code
        partition.highWatermark = 100
        partition.logStartOffset = 2
        if let records { partition.records = .bytes(records) }
        var topic = FetchResponse.Topic()
        topic.topic = "topic"
        topic.partitions = [partition]
        var response = FetchResponse()
        response.topics = [topic]
        var frame = ByteBuffer()
        try Frame.write(response, version: version, correlationId: Self.id, into: &frame)
        return frame
    }

    /// Scans the bytes in pieces of this size.
    private func scan(
        _ bytes: ByteBuffer, pieces: Int = .max, version: Int16 = 11
    ) throws(ClientError) -> [FetchAnswer] {
        var scanner = FetchAnswerScanner(topic: "topic", version: version, correlationId: Self.id)
        var answers: [FetchAnswer] = []
        var rest = bytes
        while let piece = rest.readSlice(length: min(pieces, rest.readableBytes)),
            piece.readableBytes > 0
        {
            try unsafe piece.withUnsafeReadableBytes { (raw) throws(ClientError) in
                try unsafe scanner.scan(raw) { answers.append($0) }
            }
        }
        return answers
    }

    @Test(arguments: Int16(7)...11)
    func batchesAreCountedInEveryVersion(_ version: Int16) throws {
        var records = batch(3, at: 10)
        records.writeImmutableBuffer(batch(2, at: 13))
        let answers = try scan(answer(records, version: version), version: version)
        let found = try #require(answers.first)
        #expect(answers.count == 1)
        #expect(found.records == 5)
        #expect(found.bytes == records.readableBytes)
        #expect(found.firstOffset == 10)
        #expect(found.nextOffset == 15)
        #expect(found.highWatermark == 100)
        #expect(found.logStartOffset == 2)
        #expect(found.gaps == 0)
    }

    @Test(arguments: 1...150)
    func answersInPiecesOfAnySizeAreTheSame(_ size: Int) throws {
        var records = batch(3, at: 10)
        records.writeImmutableBuffer(batch(2, at: 20))
        var stream = try answer(records)
        stream.writeImmutableBuffer(try answer(nil))
        stream.writeImmutableBuffer(try answer(batch(1, at: 0), code: .offsetOutOfRange))
        let whole = try scan(stream)
        #expect(whole.map(\.records) == [5, 0, 1])
        #expect(whole.map(\.gaps) == [7, 0, 0])
        #expect(whole[2].errorCode == 1)
        #expect(try scan(stream, pieces: size) == whole)
    }

    @Test func aBatchCutShortAtTheEndIsNotCounted() throws {
        let second = batch(4, at: 3)
        for size in [1, 60, 61, 62, second.readableBytes - 1] {
            var records = batch(3, at: 0)
            records.writeImmutableBuffer(second.getSlice(at: 0, length: size) ?? ByteBuffer())
            let found = try scan(answer(records))
            #expect(found.map(\.records) == [3])
            #expect(found.map(\.nextOffset) == [3])
        }
    }

    @Test func offsetsThatGoBackAreAnError() throws {
        var records = batch(3, at: 10)
        records.writeImmutableBuffer(batch(3, at: 12))
        let stream = try answer(records)
        #expect(throws: ClientError(.badAnswer, "")) { try scan(stream) }
    }

    @Test func damagedAnswersAreErrorsAndNeverTrap() throws {
        var records = batch(3, at: 10)
        records.writeImmutableBuffer(batch(2, at: 13))
        let stream = try answer(records)
        var failures = 0
        for index in 0..<stream.readableBytes {
            for byte: UInt8 in [0x00, 0x7f, 0x80, 0xff] {
                var damaged = stream
                damaged.setInteger(byte, at: index)
                do { _ = try scan(damaged) } catch { failures += 1 }
            }
        }
        #expect(failures > 50)
    }
}

@Suite struct FrameSplitterTests {
    @Test(arguments: 1...20)
    func framesComeOutWholeWhateverTheReads(_ size: Int) throws {
        var stream = ByteBuffer()
        for text in ["first", "second one", "last"] {
            stream.writeInteger(Int32(text.utf8.count))
            stream.writeString(text)
        }
        var splitter = FrameSplitter()
        var frames: [String] = []
        while let piece = stream.readSlice(length: min(size, stream.readableBytes)),
            piece.readableBytes > 0
        {
            splitter.append(piece)
            while let frame = try splitter.next() { frames.append(String(buffer: frame)) }
        }
        #expect(frames == ["first", "second one", "last"])
    }

    @Test(arguments: [Int32.min, -1, 0, 3, 1025, Int32.max])
    func absurdLengthsAreRefusedBeforeAnythingIsKept(_ length: Int32) {
        var splitter = FrameSplitter(frameBytesMax: 1024)
        var bytes = ByteBuffer()
        bytes.writeInteger(length)
        splitter.append(bytes)
        #expect(throws: ClientError(.badAnswer, "")) { try splitter.next() }
    }
}
