// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: Streams.Publish over an engine.

import Bytes
import Contract
import Engine
import FoundationEssentials
import GRPCWire
import NIOCore
import NIOEmbedded
import Records
import SwiftProtobuf
import Testing

@testable import GRPCServer

@Suite struct PublishServiceTests {
    @Test func `Records get consecutive offsets and are read back as they were`() throws {
        let fixture = try Fixture()
        let peer = try fixture.connect()
        let first = try peer.publish("orders", ["a", "b", "c"])
        let answer = try #require(try first.decoded(Martlet_V1_PublishResponse.self).first)
        #expect(first.status == .ok)
        #expect(answer.batches.map(\.partition) == [0] && answer.batches.map(\.baseOffset) == [0])
        #expect(answer.batches.first?.recordPositions == [0, 1, 2])
        #expect(answer.batches.first?.hasLogAppendTimeMs == false)
        let second = try #require(try peer.publish("orders", ["d"]).decoded(Martlet_V1_PublishResponse.self).first)
        #expect(second.batches.map(\.baseOffset) == [3])
        let read = try peer.subscribe("orders") { $0.untilEnd = true }
        #expect(try read.values() == ["a", "b", "c", "d"])
        #expect(try read.records().allSatisfy { $0.timestampMs == fixture.clock.nowMs() && !$0.hasKey })
    }

    @Test func `A missing topic is created, or not found where the broker may not`() throws {
        let peer = try Fixture().connect()
        #expect(try peer.publish("new", ["x"]).status == .ok)
        let strict = try Fixture(autoCreate: false).connect()
        let call = try strict.publish("new", ["x"])
        #expect(call.status == .notFound && call.message.contains("new"))
    }

    @Test func `A partition can be named; one that is not there is not found`() throws {
        let fixture = try Fixture()
        let topic = try fixture.topic("orders", partitions: 3)
        let peer = try fixture.connect()
        let call = try peer.publish("orders", ["x"], partition: 2)
        #expect(try call.decoded(Martlet_V1_PublishResponse.self).first?.batches.map(\.partition) == [2])
        #expect(topic.partition(2)?.offsets.highWatermark == 1)
        let missing = try peer.publish("orders", ["x"], partition: 3)
        #expect(missing.status == .notFound && missing.message.contains("3"))
    }

    @Test func `Keys choose partitions; records without a key spread over requests, not within one`() throws {
        let fixture = try Fixture()
        _ = try fixture.topic("orders", partitions: 4)
        let peer = try fixture.connect()
        var used = Set<Int32>()
        for _ in 0..<8 {
            let call = try peer.publish("orders", ["a", "b"])
            let batches = try #require(try call.decoded(Martlet_V1_PublishResponse.self).first).batches
            #expect(batches.count == 1)
            used.formUnion(batches.map(\.partition))
        }
        #expect(used == [0, 1, 2, 3])
        let keys = (0..<40).map { "key-\($0)" }
        let keyed = try peer.call(
            "/martlet.v1.Streams/Publish",
            Martlet_V1_PublishRequest.with {
                $0.topic = "orders"
                $0.records = keys.map { key in .with { $0.key = .init(key.utf8) } }
            })
        let batches = try #require(try keyed.decoded(Martlet_V1_PublishResponse.self).first).batches
        var seen: [Int32] = []
        for batch in batches {
            for position in batch.recordPositions {
                seen.append(position)
                let expected = KeyPartitioner.partition(ofKey: ByteBuffer(string: keys[Int(position)]), count: 4)
                #expect(batch.partition == expected)
            }
        }
        #expect(seen.sorted() == (0..<40).map { Int32($0) })
    }

    @Test func `The broker's time is told where it counts`() throws {
        let fixture = try Fixture()
        _ = try fixture.topic("orders", overrides: ["message.timestamp.type": "LogAppendTime"])
        let peer = try fixture.connect()
        let batches = try peer.publish("orders", ["a"]).decoded(Martlet_V1_PublishResponse.self).flatMap(\.batches)
        #expect(batches.map(\.logAppendTimeMs) == [fixture.clock.nowMs()])
    }

    @Test func `What the engine refuses is an error with its reason`() throws {
        let fixture = try Fixture()
        _ = try fixture.topic("small", overrides: ["max.message.bytes": "200"])
        let peer = try fixture.connect()
        let large = try peer.publish("small", [String(repeating: "x", count: 500)])
        #expect(large.status == .resourceExhausted && large.message.contains("max.message.bytes"), "\(large.message)")
        let named = try peer.publish("no/slash", ["x"])
        #expect(named.status == .invalidArgument && named.message.contains("no/slash"))
        let empty = try peer.publish("small", [])
        #expect(empty.status == .invalidArgument)
        #expect(try peer.publish("small", ["fits"]).status == .ok)
    }

    @Test(arguments: ["__consumer_offsets", "__transaction_state", "__share_group_state"])
    func `A topic of the broker's that is not there yet is not made by who publishes to it or creates it`(name: String) throws {
        let fixture = try Fixture()
        let peer = try fixture.connect()
        let published = try peer.publish(name, ["x"])
        #expect(published.status == .invalidArgument && published.message.contains("belongs to the broker"))
        let created = try peer.call(
            "/martlet.v1.Admin/CreateTopic", Martlet_V1_CreateTopicRequest.with { $0.name = name })
        #expect(created.status == .invalidArgument && created.message.contains("belongs to the broker"))
        let streamed = try peer.call(
            "/martlet.v1.Streams/PublishStream",
            Martlet_V1_PublishStreamRequest.with {
                $0.topic = name
                $0.records = [.init()]
            })
        let error = try streamed.decoded(Martlet_V1_PublishStreamResponse.self).first?.results.first?.error
        #expect(error?.field == "topic" && error?.metadata["topic"] == name)
        #expect(fixture.engine.topics.topic(named: name) == nil)
    }

    @Test func `The broker's own topics take no records`() throws {
        let fixture = try Fixture()
        let made = fixture.engine.topics.create(
            TopicSpecification(name: "__consumer_offsets", isInternal: true), on: fixture.loop)
        fixture.loop.run()
        _ = try made.wait()
        let call = try fixture.connect().publish("__consumer_offsets", ["x"])
        #expect(call.status == .invalidArgument)
    }

    @Test func `Many calls of one turn are written with one write and all answered`() throws {
        let fixture = try Fixture()
        let topic = try fixture.topic("orders")
        let peer = try fixture.connect()
        let request = Martlet_V1_PublishRequest.with {
            $0.topic = "orders"
            $0.records = [.with { $0.value = .init("x".utf8) }]
        }
        let bytes: [UInt8] = try request.serializedBytes()
        let calls = try (0..<200).map { _ in
            let call = try peer.open("/martlet.v1.Streams/Publish")
            var framed = ByteBuffer()
            framed.writeMessage { $0.writeBytes(bytes) }
            call.send(framed, end: true)
            return call
        }
        try peer.run()
        let offsets = try calls.flatMap { try $0.decoded(Martlet_V1_PublishResponse.self).flatMap(\.batches) }.map(\.baseOffset)
        #expect(offsets == (0..<200).map { Int64($0) })
        #expect(topic.partition(0)?.offsets.highWatermark == 200)
    }
}
