// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: Streams.Subscribe over an engine.

import Contract
import Engine
import GRPCWire
import HTTP2
import NIOCore
import NIOEmbedded
import Records
import SwiftProtobuf
import Telemetry
import Testing

@testable import GRPCServer

@Suite struct SubscribeServiceTests {
    private let fixture: Fixture
    private let topic: Topic
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        topic = try fixture.topic("orders", partitions: 3)
        peer = try fixture.connect()
    }

    private var partition: Partition {
        get throws { try #require(topic.partition(0)) }
    }

    private func numbers(_ range: Range<Int>) -> [String] { range.map(String.init) }

    @Test func `What is there comes first, then what is written later`() throws {
        try fixture.append(["a", "b"], to: partition)
        let call = try peer.subscribe("orders")
        #expect(try call.values() == ["a", "b"] && call.status == nil)
        try fixture.append(["c"], to: partition)
        try peer.run()
        try fixture.append(["d"], to: #require(topic.partition(2)))
        try peer.run()
        #expect(try call.values() == ["a", "b", "c", "d"])
        let batches = try call.decoded(Martlet_V1_SubscribeResponse.self).flatMap(\.batches)
        #expect(batches.map(\.partition) == [0, 0, 2] && batches.map(\.highWatermark) == [2, 3, 1])
        #expect(batches.allSatisfy { $0.topic == "orders" })
    }

    @Test func `Headers come as soon as the position is fixed`() throws {
        try fixture.append(["old"], to: partition)
        let call = try peer.subscribe("orders") { $0.origin = .latest }
        #expect(call.headers[.status] == "200" && call.messages.isEmpty)
        try fixture.append(["new"], to: partition)
        try peer.run()
        #expect(try call.values() == ["new"])
    }

    @Test func `Nothing said about the start means the latest`() throws {
        try fixture.append(["old"], to: partition)
        let call = try peer.subscribe("orders") { $0.origin = .unspecified }
        try fixture.append(["new"], to: partition)
        try peer.run()
        #expect(try call.values() == ["new"])
    }

    @Test(arguments: CompressionType.allCases)
    func `Batches of every codec are read, from their middle too`(compression: CompressionType) throws {
        try fixture.append(numbers(0..<100), to: partition, compression: compression)
        try fixture.append(numbers(100..<200), to: partition, compression: compression)
        let call = try peer.subscribe("orders") {
            $0.origin = .unspecified
            $0.offset = 42
        }
        // Partitions 1 and 2 are empty: offset 42 is not there.
        #expect(call.status == .outOfRange && call.message.contains("42"))
        let one = try peer.subscribe("orders") {
            $0.topics = [.with { $0.topic = "orders"; $0.partitions = [.with { $0.partition = 0; $0.offset = 42 }] }]
            $0.untilEnd = true
        }
        #expect(try one.values() == numbers(42..<200) && one.status == .ok)
    }

    @Test(arguments: [
        (0, 10), (4, 10), (10, 10),
    ])
    func `An offset may be anything up to the end`(offset: Int64, end: Int64) throws {
        try fixture.append(numbers(0..<10), to: partition)
        let call = try peer.subscribe("orders") {
            $0.topics = [.with { $0.topic = "orders"; $0.partitions = [.with { $0.partition = 0 }] }]
            $0.offset = offset
            $0.untilEnd = true
        }
        #expect(try call.records().map(\.offset) == Array(offset..<end) && call.status == .ok)
    }

    @Test func `An offset out of range goes to the origin if there is one, and fails without`() throws {
        try fixture.append(numbers(0..<4), to: partition)
        func call(_ origin: Martlet_V1_Origin) throws -> Call {
            try peer.subscribe("orders") {
                $0.topics = [.with { $0.topic = "orders"; $0.partitions = [.with { $0.partition = 0 }] }]
                $0.offset = 1000
                $0.origin = origin
                $0.untilEnd = true
            }
        }
        #expect(try call(.earliest).records().map(\.offset) == [0, 1, 2, 3])
        #expect(try call(.latest).records().isEmpty)
        let without = try call(.unspecified)
        #expect(without.status == .outOfRange && without.message.contains("1000"))
    }

    @Test func `A timestamp finds its first record, or the end`() throws {
        for number in 0..<5 { try fixture.append(["\(number)"], to: partition, timestamp: Int64(1000 * number)) }
        for (timestamp, expected) in [(0, 0), (1500, 2), (4000, 4), (4001, 5)] {
            let call = try peer.subscribe("orders") {
                $0.timestampMs = Int64(timestamp)
                $0.untilEnd = true
            }
            #expect(try call.values() == numbers(expected..<5) && call.status == .ok)
        }
    }

    @Test func `A group's commits are where it goes on, and the origin where it has none`() throws {
        try fixture.append(numbers(0..<5), to: partition)
        try fixture.append(["x"], to: #require(topic.partition(1)))
        let commit = try peer.call(
            "/martlet.v1.Streams/Commit",
            Martlet_V1_CommitRequest.with {
                $0.group = "g"
                $0.offsets = [.with { $0.topic = "orders"; $0.partition = 0; $0.offset = 3 }]
            })
        #expect(commit.status == .ok)
        func values(_ group: String, _ origin: Martlet_V1_Origin) throws -> [String] {
            try peer.subscribe("orders") {
                $0.group = group
                $0.origin = origin
                $0.untilEnd = true
            }.values()
        }
        #expect(try values("g", .earliest) == ["3", "4", "x"])
        #expect(try values("g", .unspecified) == ["3", "4"])
        #expect(try values("unknown", .earliest).count == 6)
    }

    @Test func `A stream ends after the records that were asked for`() throws {
        try fixture.append(numbers(0..<3), to: partition)
        let call = try peer.subscribe("orders") { $0.maxRecords = 5 }
        #expect(try call.values() == numbers(0..<3) && call.status == nil)
        try fixture.append(numbers(3..<9), to: partition)
        try peer.run()
        #expect(try call.values() == numbers(0..<5) && call.status == .ok)
    }

    @Test func `The end is the one there was when the call began`() throws {
        let call = try peer.subscribe("orders") { $0.untilEnd = true }
        #expect(call.status == .ok && call.messages.isEmpty)
        try fixture.append(numbers(0..<3), to: partition)
        // With a window too small for all, the records after the end are there before it is reached.
        var small = HTTP2Configuration()
        small.streamWindowBytes = 65535
        let slow = try fixture.connect(small)
        try fixture.append((0..<50).map { _ in String(repeating: "x", count: 5000) }, to: partition)
        let reader = try slow.open("/martlet.v1.Streams/Subscribe")
        reader.stream?.isInboundHeld = true
        let bytes: [UInt8] = try Martlet_V1_SubscribeRequest.with {
            $0.topics = [.with { $0.topic = "orders" }]
            $0.origin = .earliest
            $0.untilEnd = true
        }.serializedBytes()
        var framed = ByteBuffer()
        framed.writeMessage { $0.writeBytes(bytes) }
        reader.send(framed, end: true)
        try slow.run()
        try fixture.append(["after"], to: partition)
        reader.stream?.isInboundHeld = false
        try slow.run()
        #expect(try reader.records().map(\.offset) == Array(0..<53) && reader.status == .ok)
    }

    @Test func `Messages keep to the limits they were asked to`() throws {
        try fixture.append((0..<300).map { _ in String(repeating: "x", count: 100) }, to: partition)
        let counted = try peer.subscribe("orders") {
            $0.maxRecordsPerMessage = 7
            $0.untilEnd = true
        }
        let counts = try counted.decoded(Martlet_V1_SubscribeResponse.self).map { $0.batches.reduce(0) { $0 + $1.records.count } }
        #expect(counts.allSatisfy { $0 <= 7 } && counts.reduce(0, +) == 300)
        let sized = try peer.subscribe("orders") {
            $0.maxBytesPerMessage = 1000
            $0.untilEnd = true
        }
        #expect(sized.messages.allSatisfy { $0.readableBytes <= 1000 } && sized.messages.count >= 30)
        #expect(try sized.records().count == 300)
        let free = try peer.subscribe("orders") { $0.untilEnd = true }
        #expect(free.messages.count == 1)
    }

    @Test func `Small batches share a message`() throws {
        for number in 0..<50 { try fixture.append(["\(number)"], to: partition) }
        let call = try peer.subscribe("orders") { $0.untilEnd = true }
        #expect(call.messages.count == 1)
        #expect(try call.decoded(Martlet_V1_SubscribeResponse.self).first?.batches.count == 1)
        #expect(try call.values() == numbers(0..<50))
    }

    @Test func `Every wrong request is named`() throws {
        let wrong: [((inout Martlet_V1_SubscribeRequest) -> Void, GRPCStatus.Code, String)] = [
            ({ $0.topics = [] }, .invalidArgument, "topics"),
            ({ $0.topics = [.init()] }, .invalidArgument, "topic"),
            ({ $0.topics = [.with { $0.topic = "missing" }] }, .notFound, "missing"),
            ({ $0.topics[0].partitions = [.with { $0.partition = 3 }] }, .notFound, "3"),
            ({ $0.topics.append($0.topics[0]) }, .invalidArgument, "twice"),
            ({ $0.offset = -1 }, .invalidArgument, "negative"),
            ({ $0.origin = .UNRECOGNIZED(9) }, .invalidArgument, "origin 9"),
            ({ $0.group = "" }, .invalidArgument, "group"),
            ({ $0.maxBytesPerMessage = 5 << 20 }, .invalidArgument, "max_bytes_per_message"),
        ]
        for (edit, code, word) in wrong {
            let call = try peer.subscribe("orders", edit)
            #expect(call.status == code && call.message.contains(word), "\(call.message)")
        }
    }

    @Test func `Deleting the topic ends the stream`() throws {
        let call = try peer.subscribe("orders")
        let deleted = fixture.engine.topics.delete("orders", on: fixture.loop)
        try peer.run()
        try deleted.wait()
        #expect(call.status == .notFound)
    }

    @Test func `Cancelling leaves nobody waiting at the partition`() throws {
        let call = try peer.subscribe("orders")
        call.cancel()
        try peer.run()
        try fixture.append(["x"], to: partition)
        try peer.run()
        #expect(call.isClosed && call.messages.isEmpty)
        #expect(try peer.subscribe("orders") { $0.untilEnd = true }.values() == ["x"])
    }

    @Test func `A reader that stalls gets every record later, in order`() throws {
        var small = HTTP2Configuration()
        small.streamWindowBytes = 65535
        let slow = try fixture.connect(small)
        for start in stride(from: 0, to: 400, by: 20) {
            try fixture.append(
                (start..<start + 20).map { "\($0)" + String(repeating: "x", count: 2000) }, to: partition, compression: .lz4)
        }
        let call = try slow.open("/martlet.v1.Streams/Subscribe")
        let bytes: [UInt8] = try Martlet_V1_SubscribeRequest.with {
            $0.topics = [.with { $0.topic = "orders" }]
            $0.origin = .earliest
            $0.untilEnd = true
        }.serializedBytes()
        call.stream?.isInboundHeld = true
        var framed = ByteBuffer()
        framed.writeMessage { $0.writeBytes(bytes) }
        call.send(framed, end: true)
        try slow.run()
        let before = try call.records().count
        #expect(before > 0 && before < 60)
        // Long enough for what was read ahead to be given back.
        fixture.loop.advanceTime(by: .seconds(5))
        while call.status == nil {
            let seen = call.messages.count
            call.stream?.isInboundHeld = false
            call.stream?.isInboundHeld = true
            try slow.run()
            guard call.messages.count > seen || call.status != nil else { break }
            fixture.loop.advanceTime(by: .seconds(3))
        }
        #expect(try call.records().map(\.offset) == Array(0..<400))
        #expect(call.status == .ok)
    }

    @Test func `A gap that retention made is skipped to the origin, or ends the stream`() throws {
        for (origin, code) in [(Martlet_V1_Origin.earliest, nil), (.unspecified, GRPCStatus.Code.outOfRange)] {
            let name = "gap-\(origin.rawValue)"
            let topic = try fixture.topic(name)
            let partition = try #require(topic.partition(0))
            try fixture.append(numbers(0..<5), to: partition)
            let call = try peer.subscribe(name) {
                $0.origin = origin
                $0.offset = 0
            }
            #expect(try call.records().count == 5)
            peer.channel.isWritable = false
            try fixture.append(numbers(5..<10), to: partition)
            try fixture.append(numbers(10..<12), to: partition)
            try peer.run()
            _ = try partition.deleteRecords(before: 10)
            peer.channel.isWritable = true
            peer.channel.pipeline.fireChannelWritabilityChanged()
            try peer.run()
            #expect(call.status == code)
            let expected = Array(Int64(0)..<5) + (code == nil ? [10, 11] : [])
            #expect(try call.records().map(\.offset) == expected)
        }
    }

    @Test func `What is delivered is counted`() throws {
        try fixture.append(numbers(0..<7), to: partition)
        _ = try peer.subscribe("orders") { $0.untilEnd = true }
        #expect(fixture.metrics.text().contains(#"martlet_topic_out_records_total{topic="orders"} 7"#))
    }
}
