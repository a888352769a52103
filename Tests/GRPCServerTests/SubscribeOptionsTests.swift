// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: Streams.Subscribe: patterns, filters, progress, resume tokens, isolation.

import Bytes
import Contract
import Engine
import Foundation
import GRPCWire
import HTTP2
import NIOCore
import NIOEmbedded
import Records
import SwiftProtobuf
import Testing

@testable import GRPCServer

@Suite struct TopicGlobTests {
    @Test(arguments: [
        ("orders.*", "orders.new", true), ("orders.*", "orders", false), ("*", "anything", true), ("a?c", "abc", true),
        ("a?c", "ac", false), ("*.v?", "x.y.v2", true), ("a*b*c", "aXXbYYc", true), ("a*b*c", "aXXbYY", false),
        ("abc", "abc", true), ("abc", "abcd", false), ("**", "", true), ("a*", "a", true),
    ])
    func `A star is any run and a question mark is one character`(pattern: String, name: String, expected: Bool) throws {
        #expect(try #require(TopicGlob(pattern)).matches(name) == expected)
    }

    @Test(arguments: ["", "a/b", "[ab]", "a b", "ä", String(repeating: "*", count: 250)])
    func `What no topic can be called is no pattern`(pattern: String) {
        #expect(TopicGlob(pattern) == nil)
    }

    @Test func `A pattern of stars takes no time to speak of`() throws {
        let pattern = try #require(TopicGlob(String(repeating: "*a", count: 120) + "b"))
        #expect(!pattern.matches(String(repeating: "a", count: 249)))
    }
}

@Suite struct ResumeTokenTests {
    private let token = ResumeToken(topics: [
        .init(id: TopicId(high: 1, low: 2), name: "orders", offsets: [0: 5, 3: .max]),
        .init(id: TopicId(high: 3, low: 4), name: "empty"),
    ])

    @Test func `A token says what it was made of`() {
        #expect(ResumeToken(token.bytes) == token)
    }

    @Test func `A token with a byte more, less or changed is none`() {
        let bytes = Array(token.bytes.readableBytesView)
        #expect(ResumeToken(ByteBuffer(bytes: bytes + [0])) == nil)
        for index in bytes.indices {
            #expect(ResumeToken(ByteBuffer(bytes: bytes[..<index])) == nil)
            var changed = bytes
            changed[index] ^= 0x10
            #expect(ResumeToken(ByteBuffer(bytes: changed)) == nil)
        }
    }
}

@Suite struct SubscribeOptionsTests {
    private let fixture: Fixture
    private let topic: Topic
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        topic = try fixture.topic("orders", partitions: 2)
        peer = try fixture.connect()
    }

    private func progress(_ call: Call) throws -> [Martlet_V1_SubscribeProgress] {
        try call.decoded(Martlet_V1_SubscribeResponse.self).filter(\.hasProgress).map(\.progress)
    }

    private func publish(_ topic: String, _ records: [Martlet_V1_PublishRecord], partition: Int32 = 0) throws {
        let call = try peer.call(
            "/martlet.v1.Streams/Publish",
            Martlet_V1_PublishRequest.with {
                $0.topic = topic
                $0.partition = partition
                $0.records = records
            })
        #expect(call.status == .ok, "\(call.message)")
    }

    // MARK: Patterns

    @Test func `A pattern takes what matches, and topics that come later from their beginning`() throws {
        _ = try fixture.topic("orders.eu")
        _ = try fixture.topic("invoices")
        _ = try peer.publish("orders.eu", ["old"])
        let call = try peer.subscribe("") {
            $0.topics = []
            $0.topicPattern = "orders.*"
            $0.origin = .latest
        }
        #expect(call.headers[.status] == "200")
        for (name, value) in [("orders.eu", "a"), ("invoices", "no"), ("orders", "no"), ("orders.us", "b")] {
            #expect(try peer.publish(name, [value]).status == .ok)
        }
        #expect(try call.values() == ["a", "b"] && call.status == nil)
        _ = fixture.engine.topics.delete("orders.eu", on: fixture.loop)
        try peer.run()
        #expect(try peer.publish("orders.us", ["c"]).status == .ok)
        #expect(try peer.publish("orders.eu", ["d"]).status == .ok)
        #expect(try call.values() == ["a", "b", "c", "d"] && call.status == nil)
    }

    @Test func `A pattern that matches nothing waits, or ends at once where an end was asked for`() throws {
        let waiting = try peer.subscribe("") { $0.topics = []; $0.topicPattern = "none-*" }
        #expect(waiting.status == nil && waiting.headers[.status] == "200")
        #expect(try peer.publish("none-yet", ["x"]).status == .ok)
        #expect(try waiting.values() == ["x"])
        let ending = try peer.subscribe("") { $0.topics = []; $0.topicPattern = "never-*"; $0.untilEnd = true }
        #expect(ending.status == .ok)
        let wrong = try peer.subscribe("") { $0.topics = []; $0.topicPattern = "no/[a-z]+" }
        #expect(wrong.status == .invalidArgument && wrong.message.contains("topic_pattern"))
    }

    @Test func `New partitions of a topic join`() throws {
        let call = try peer.subscribe("orders") { $0.origin = .latest }
        let grown = fixture.engine.topics.grow("orders", to: 3, on: fixture.loop)
        try peer.run()
        try grown.wait()
        #expect(try peer.publish("orders", ["x"], partition: 2).status == .ok)
        #expect(try call.values() == ["x"])
    }

    // MARK: Filters

    @Test func `Filters choose by key, header and value, and what they pass over counts as read`() throws {
        try publish(
            "orders",
            [
                .with { $0.key = Data("eu-1".utf8); $0.value = Data("{\"a\":1}".utf8) },
                .with { $0.key = Data("us-1".utf8); $0.value = Data("[1]".utf8) },
                .with { $0.value = Data("{}".utf8); $0.headers = [.with { $0.key = "kind"; $0.value = Data("new".utf8) }] },
                .with { $0.key = Data("eu-2".utf8); $0.headers = [.with { $0.key = "kind" }] },
            ])
        func offsets(_ filters: [Martlet_V1_RecordFilter]) throws -> [Int64] {
            let call = try peer.subscribe("orders") {
                $0.filters = filters
                $0.untilEnd = true
                $0.progressIntervalMs = 1000
            }
            #expect(call.status == .ok)
            let last = try #require(try progress(call).last)
            #expect(last.caughtUp)
            return try call.records().map(\.offset)
        }
        #expect(try offsets([.with { $0.key = Data("eu-1".utf8) }]) == [0])
        #expect(try offsets([.with { $0.keyPrefix = Data("eu-".utf8) }]) == [0, 3])
        #expect(try offsets([.with { $0.valuePrefix = Data("{".utf8) }]) == [0, 2])
        #expect(try offsets([.with { $0.headers = [.with { $0.key = "kind" }] }]) == [2, 3])
        #expect(try offsets([.with { $0.headers = [.with { $0.key = "kind"; $0.value = Data("new".utf8) }] }]) == [2])
        #expect(try offsets([.with { $0.keyPrefix = Data("eu-".utf8); $0.valuePrefix = Data("{".utf8) }]) == [0])
        #expect(try offsets([.with { $0.key = Data("us-1".utf8) }, .with { $0.key = Data("eu-2".utf8) }]) == [1, 3])
        #expect(try offsets([.with { $0.key = Data("none".utf8) }]) == [])
        let empty = try peer.subscribe("orders") { $0.filters = [.init()] }
        #expect(empty.status == .invalidArgument && empty.message.contains("filters[0]"))
        let many = try peer.subscribe("orders") {
            $0.filters = Array(repeating: .with { $0.key = Data([1]) }, count: 33)
        }
        #expect(many.status == .invalidArgument)
    }

    @Test func `A long stretch without a match holds nobody up and is passed over`() throws {
        let partition = try #require(topic.partition(0))
        for _ in 0..<40 { try fixture.append([String(repeating: "x", count: 200_000)], to: partition) }
        try fixture.append(["match"], to: partition)
        let call = try peer.subscribe("orders") { $0.filters = [.with { $0.valuePrefix = Data("match".utf8) }] }
        #expect(try call.values() == ["match"])
    }

    // MARK: Progress and tokens

    @Test func `Progress tells positions, lag and that the end is reached, and comes again in time`() throws {
        try fixture.append(["a", "b"], to: #require(topic.partition(0)))
        let call = try peer.subscribe("orders") { $0.progressIntervalMs = 1000 }
        let first = try #require(try progress(call).last)
        #expect(first.caughtUp)
        let all = try progress(call).flatMap(\.partitions)
        #expect(all.last { $0.partition == 0 }?.position == 2 && all.last { $0.partition == 0 }?.highWatermark == 2)
        #expect(all.last { $0.partition == 1 }?.position == 0 && all.allSatisfy { $0.topic == "orders" })
        let before = try progress(call).count
        fixture.loop.advanceTime(by: .seconds(1))
        try peer.run()
        let idle = try progress(call)
        #expect(idle.count == before + 1 && idle.last?.partitions.isEmpty == true && idle.last?.caughtUp == true)
        try fixture.append(["c"], to: #require(topic.partition(1)))
        try peer.run()
        #expect(try progress(call).count >= before + 1)
        fixture.loop.advanceTime(by: .seconds(1))
        try peer.run()
        let changed = try #require(try progress(call).last { !$0.partitions.isEmpty })
        #expect(changed.partitions.map(\.partition) == [1] && changed.partitions.map(\.lag) == [0])
        for wrong: UInt32 in [1, 99, 3_600_001] {
            #expect(try peer.subscribe("orders") { $0.progressIntervalMs = wrong }.status == .invalidArgument)
        }
    }

    @Test func `A token goes on exactly where it was given`() throws {
        let partition = try #require(topic.partition(0))
        try fixture.append((0..<10).map(String.init), to: partition)
        let first = try peer.subscribe("orders") {
            $0.maxRecords = 4
            $0.progressIntervalMs = 1000
        }
        #expect(first.status == .ok)
        let token = try #require(try progress(first).last?.resumeToken)
        for named in [true, false] {
            let call = try peer.subscribe("orders") {
                if !named { $0.topics = [] }
                $0.resumeToken = token
                $0.untilEnd = true
            }
            #expect(try call.values() == (4..<10).map(String.init) && call.status == .ok, "\(call.message)")
        }
        let both = try peer.subscribe("orders") { $0.resumeToken = token; $0.offset = 1 }
        #expect(both.status == .invalidArgument)
        let broken = try peer.subscribe("orders") { $0.resumeToken = token.dropLast() }
        #expect(broken.status == .invalidArgument && broken.message.contains("resume_token"))
        _ = fixture.engine.topics.delete("orders", on: fixture.loop)
        try peer.run()
        _ = try fixture.topic("orders", partitions: 2)
        let gone = try peer.subscribe("orders") { $0.resumeToken = token }
        #expect(gone.status == .notFound && gone.message.contains("orders"))
    }

    // MARK: Details

    @Test func `A refusal says for programs what is wrong`() throws {
        let call = try peer.subscribe("orders") { $0.offset = 1000; $0.origin = .unspecified }
        let text = try #require(call.details)
        let bytes = try #require(Base64.decode(text.utf8))
        let status = String(decoding: bytes, as: UTF8.self)
        for part in ["type.googleapis.com/google.rpc.ErrorInfo", "OFFSET_OUT_OF_RANGE", "martlet", "start_offset", "1000"] {
            #expect(status.contains(part), "\(part)")
        }
        let field = try peer.subscribe("orders") { $0.filters = [.init()] }
        let encoded = try #require(field.details)
        let violation = String(decoding: try #require(Base64.decode(encoded.utf8)), as: UTF8.self)
        #expect(violation.contains("google.rpc.BadRequest") && violation.contains("filters[0]"))
    }
}
