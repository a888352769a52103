// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: gRPC messages and statuses on the client's side.

import Contract
import FoundationEssentials
import GRPCWire
import NIOCore
import SwiftProtobuf
import Testing

@testable import Client

@Suite struct GRPCResponseBodyTests {
    @Test(arguments: 1...30)
    func messagesComeOutWholeWhateverTheFrames(_ size: Int) throws {
        var bytes = ByteBuffer()
        for text in ["first", "", "third message"] {
            bytes.writeMessage { $0.writeString(text) }
        }
        var body = GRPCResponseBody()
        var messages: [String] = []
        while let piece = bytes.readSlice(length: min(size, bytes.readableBytes)),
            piece.readableBytes > 0
        {
            body.append(piece)
            while let message = try body.next() { messages.append(String(buffer: message)) }
        }
        #expect(messages == ["first", "", "third message"])
    }

    @Test func compressedAndEndlessMessagesAreRefused() {
        for prefix: [UInt8] in [[1, 0, 0, 0, 1, 9], [0, 0xff, 0xff, 0xff, 0xff]] {
            var body = GRPCResponseBody(messageBytesMax: 1024)
            body.append(ByteBuffer(bytes: prefix))
            #expect(throws: ClientError(.badAnswer, "")) { try body.next() }
        }
    }
}

@Suite struct SubscribeCounterTests {
    private func message(
        _ offsets: [Int64], partition: Int32 = 0, then more: [Int64] = []
    ) throws -> ByteBuffer {
        var response = Martlet_V1_SubscribeResponse()
        for part in [offsets, more] where !part.isEmpty {
            var batch = Martlet_V1_RecordBatch()
            batch.topic = "topic"
            batch.partition = partition
            batch.highWatermark = 1000
            batch.records = part.map { offset in
                var record = Martlet_V1_Record()
                record.offset = offset
                record.timestampMs = 1_700_000_000_000
                record.key = .init([1, 2, 3])
                record.value = .init(repeating: 7, count: 100)
                return record
            }
            response.batches.append(batch)
        }
        let bytes: [UInt8] = try response.serializedBytes()
        return ByteBuffer(bytes: bytes)
    }

    @Test func recordsAreCountedAsTheGeneratedCodeEncodesThem() throws {
        var counter = SubscribeCounter()
        #expect(try counter.count(message([0, 1, 2], then: [3, 4])) == 5)
        #expect(try counter.count(message([5], partition: 0)) == 1)
        #expect(try counter.count(message([100, 101], partition: 300)) == 2)
        #expect(try counter.count(ByteBuffer()) == 0)
        #expect(counter.records == 8)
        #expect(counter.gaps == 0)
    }

    @Test func missingOffsetsAreCountedAndRepeatedOnesRefused() throws {
        var counter = SubscribeCounter()
        _ = try counter.count(message([5, 6, 9]))
        #expect(counter.gaps == 2)
        #expect(throws: ClientError(.badAnswer, "")) { try counter.count(message([9])) }
        counter.restart()
        #expect(try counter.count(message([0, 1])) == 2)
    }

    @Test func damagedMessagesAreErrorsAndNeverTrap() throws {
        let sound = try message([0, 1, 2], then: [3, 4])
        var failures = 0
        for index in 0..<sound.readableBytes {
            for byte: UInt8 in [0x00, 0x07, 0x7f, 0x80, 0xff] {
                var damaged = sound
                damaged.setInteger(byte, at: index)
                var counter = SubscribeCounter()
                do { _ = try counter.count(damaged) } catch { failures += 1 }
            }
        }
        #expect(failures > 20)
        for size in 1..<sound.readableBytes {
            var counter = SubscribeCounter()
            let cut = sound.getSlice(at: 0, length: size) ?? ByteBuffer()
            // A cut between the two batches leaves a whole message of one.
            let counted = try? counter.count(cut)
            #expect(counted == nil || counted == 3, "cut to \(size)")
        }
    }
}

@Suite struct RecordSubscriptionTests {
    @Test func aStartBecomesAnOriginAnOffsetOrATime() throws {
        func request(_ from: StartPosition) throws -> Martlet_V1_SubscribeRequest {
            try RecordSubscription(topics: ["a", "b"], partitions: [3], from: from).request()
        }
        #expect(try request(.earliest).origin == .earliest)
        #expect(try request(.latest).origin == .latest)
        #expect(try request(.offset(7)).start == .offset(7))
        #expect(try request(.timestamp(9)).start == .timestampMs(9))
        #expect(try request(.earliest).topics.map(\.topic) == ["a", "b"])
        #expect(try request(.earliest).topics[1].partitions.map(\.partition) == [3])
    }

    @Test func aGroupBeginsAtItsCommitsAndExcludesOffsets() throws {
        let grouped = try RecordSubscription(topics: ["a"], from: .earliest, group: "g").request()
        #expect(grouped.start == .group("g"))
        #expect(grouped.origin == .earliest)
        #expect(throws: ClientError(.invalidArgument, "")) {
            try RecordSubscription(topics: ["a"], from: .offset(1), group: "g").request()
        }
    }
}
