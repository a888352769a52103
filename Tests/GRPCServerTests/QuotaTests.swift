// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: quotas over gRPC: calls go slower and none fails for it.

import Bytes
import Contract
import Engine
import FoundationEssentials
import GRPCWire
import NIOCore
import NIOEmbedded
import SwiftProtobuf
import Testing

@testable import GRPCServer

@Suite struct QuotaTests {
    private let fixture: Fixture
    private let topic: Topic
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        topic = try fixture.topic("orders")
        peer = try fixture.connect()
    }

    private func limit(_ key: QuotaKey, _ value: Double) {
        fixture.engine.quotas.change([QuotaChange(QuotaEntity(user: .others), key, value)], on: fixture.loop) { _ in }
        fixture.loop.run()
    }

    private func pass(ms: Int64) throws {
        fixture.clock.advance(ms: ms)
        fixture.loop.advanceTime(by: .milliseconds(ms))
        try peer.run()
    }

    private var written: Int64 {
        get throws { try #require(topic.partition(0)).offsets.highWatermark }
    }

    private func text(_ bytes: Int) -> String { String(repeating: "v", count: bytes) }

    @Test func `A Publish waits before its records are appended, and is answered as ever`() throws {
        limit(.producerByteRate, 1000)
        #expect(try peer.publish("orders", [text(5000)]).status == .ok)
        let call = try peer.publish("orders", [text(10_000)])
        #expect(try call.status == nil && written == 1)
        try pass(ms: 3000)
        #expect(try call.status == nil && written == 1)
        try pass(ms: 8000)
        #expect(try call.status == .ok && written == 2)
    }

    @Test func `A Publish that is cancelled while it waits leaves nothing behind`() throws {
        limit(.producerByteRate, 1000)
        let call = try peer.publish("orders", [text(100_000)])
        #expect(call.status == nil)
        call.cancel()
        try peer.run()
        try pass(ms: 11_000)
        #expect(try written == 0)
        // And holds nothing either: as much may wait again.
        let others = try (0..<4).map { _ in try peer.publish("orders", [text(1_000_000)]) }
        #expect(others.allSatisfy { $0.status == nil })
    }

    @Test func `Only so much waits on one connection`() throws {
        limit(.producerByteRate, 1000)
        let calls = try (0..<5).map { _ in try peer.publish("orders", [text(1_000_000)]) }
        #expect(calls.prefix(4).allSatisfy { $0.status == nil })
        #expect(calls[4].status == .resourceExhausted && calls[4].message.contains("quota"))
        #expect(calls[4].details != nil)
    }

    @Test func `A stream of records to publish is not read while its client is over the quota`() throws {
        limit(.producerByteRate, 1000)
        let call = try peer.open("/martlet.v1.Streams/PublishStream")
        func send(_ bytes: Int) throws {
            let request = Martlet_V1_PublishStreamRequest.with {
                $0.topic = "orders"
                $0.records = [.with { $0.value = .init(text(bytes).utf8) }]
            }
            var framed = ByteBuffer()
            let message: [UInt8] = try request.serializedBytes()
            framed.writeMessage { $0.writeBytes(message) }
            call.send(framed, end: false)
            try peer.run()
        }
        try send(15_000)
        #expect(try written == 1)
        try send(10)
        try send(10)
        #expect(try written == 1)
        try pass(ms: 11_000)
        #expect(try written == 3 && call.status == nil)
        let offsets = try call.decoded(Martlet_V1_PublishStreamResponse.self).flatMap(\.results)
        #expect(offsets.count == 3)
    }

    @Test func `A subscription is sent what its quota allows`() throws {
        for _ in 0..<40 { try fixture.append([text(1000)], to: #require(topic.partition(0))) }
        limit(.consumerByteRate, 2000)
        let call = try peer.subscribe("orders")
        // Twenty seconds' worth is there, ten at once is what the windows allow.
        let first = try call.values().count
        #expect((18...24).contains(first))
        #expect(call.messages.allSatisfy { $0.readableBytes < 3200 })
        try pass(ms: 500)
        let second = try call.values().count
        #expect(second < first + 4)
        for _ in 0..<30 { try pass(ms: 1000) }
        #expect(try call.values().count == 40 && call.status == nil)
    }

    @Test func `The end of a subscription that waits is told at once`() throws {
        for _ in 0..<40 { try fixture.append([text(1000)], to: #require(topic.partition(0))) }
        limit(.consumerByteRate, 1000)
        let call = try peer.subscribe("orders")
        call.cancel()
        try peer.run()
        try pass(ms: 20_000)
        #expect(call.isClosed)
    }

    @Test func `Partitions beyond the quota are refused, and the call says when to try again`() throws {
        limit(.controllerMutationRate, 1)
        func create(_ name: String, _ partitions: Int32) throws -> Call {
            let request = Martlet_V1_CreateTopicRequest.with {
                $0.name = name
                $0.partitionCount = partitions
            }
            return try peer.call("/martlet.v1.Admin/CreateTopic", request)
        }
        func delete(_ name: String) throws -> Call {
            try peer.call("/martlet.v1.Admin/DeleteTopic", Martlet_V1_DeleteTopicRequest.with { $0.name = name })
        }
        // Eleven at once are what the windows allow; the bucket may be overdrawn once.
        #expect(try create("a", 13).status == .ok)
        #expect(try create("a", 100).status == .alreadyExists, "what cannot be made is not charged")
        let refused = try create("b", 1)
        #expect(refused.status == .resourceExhausted && refused.message.hasSuffix("try again in 2000 ms"))
        #expect(fixture.engine.topics.topic(named: "b") == nil)
        #expect(refused.details?.isEmpty == false)
        #expect(try delete("a").status == .resourceExhausted)
        try pass(ms: 2000)
        #expect(try delete("a").status == .ok)
        #expect(try create("b", 1).status == .resourceExhausted)
        try pass(ms: 13_000)
        #expect(try create("b", 1).status == .ok)
    }

    @Test func `Without a quota nothing waits`() throws {
        for _ in 0..<40 { try fixture.append([text(1000)], to: #require(topic.partition(0))) }
        #expect(try peer.subscribe("orders").values().count == 40)
        #expect(try peer.publish("orders", [text(1_000_000)]).status == .ok)
    }
}
