// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: Streams.PublishStream over an engine.

import Contract
import Engine
import FoundationEssentials
import GRPCWire
import HTTP2
import NIOCore
import NIOEmbedded
import Records
import Storage
import SwiftProtobuf
import Testing
import Transport

@testable import GRPCServer

private func framed(_ requests: [Martlet_V1_PublishStreamRequest]) throws -> ByteBuffer {
    var bytes = ByteBuffer()
    for request in requests {
        let message: [UInt8] = try request.serializedBytes()
        bytes.writeMessage { $0.writeBytes(message) }
    }
    return bytes
}

private func request(
    _ topic: String, _ values: [String], partition: Int32? = nil, timestamp: Int64? = nil
) -> Martlet_V1_PublishStreamRequest {
    .with {
        $0.topic = topic
        if let partition { $0.partition = partition }
        $0.records = values.map { value in
            .with {
                $0.value = .init(value.utf8)
                if let timestamp { $0.timestampMs = timestamp }
            }
        }
    }
}

/// One for the topic of the request before.
private func request(_ values: [String], partition: Int32? = nil, timestamp: Int64? = nil) -> Martlet_V1_PublishStreamRequest {
    request("", values, partition: partition, timestamp: timestamp)
}

extension Call {
    fileprivate func results() throws -> [Martlet_V1_PublishResult] {
        try decoded(Martlet_V1_PublishStreamResponse.self).flatMap(\.results)
    }
}

@Suite struct PublishStreamTests {
    private let fixture: Fixture
    private let topic: Topic
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        topic = try fixture.topic("orders", partitions: 2, overrides: ["max.message.bytes": "20000"])
        peer = try fixture.connect()
    }

    private func open() throws -> Call { try peer.open("/martlet.v1.Streams/PublishStream") }

    private func partition(_ index: Int32) throws -> Partition { try #require(topic.partition(index)) }

    /// How many batches there are from the beginning.
    private func batches(_ index: Int32) throws -> Int {
        let read = try partition(index).read(from: 0, maxBytes: 1 << 20)
        var bytes = ByteBuffer()
        try read.slice?.read(into: &bytes)
        var count = 0
        while try BatchBytes.next(from: &bytes) != nil { count += 1 }
        return count
    }

    @Test func `Requests that come together share a batch, and each is told its offsets in order`() throws {
        let call = try open()
        call.send(
            try framed([request("orders", ["a", "b"], partition: 0)] + (0..<50).map { request(["\($0)"], partition: 0) }),
            end: false)
        try peer.run()
        let results = try call.results()
        #expect(results.map(\.request) == Array(0...50) && call.status == nil)
        #expect(results.map { $0.batches.first?.baseOffset } == [0] + (2...51).map { Int64($0) })
        #expect(results.allSatisfy { $0.batches.count == 1 && $0.batches[0].recordPositions.isEmpty && !$0.hasError })
        #expect(try batches(0) == 1)
        call.send(ByteBuffer(), end: true)
        try peer.run()
        #expect(call.status == .ok)
        let read = try peer.subscribe("orders") { $0.untilEnd = true }
        #expect(try read.values() == ["a", "b"] + (0..<50).map { "\($0)" })
    }

    @Test func `Records of several calls share a batch too`() throws {
        let calls = try (0..<3).map { _ in try open() }
        let unary = try peer.open("/martlet.v1.Streams/Publish")
        for call in calls { call.send(try framed([request("orders", ["x"], partition: 1)]), end: true) }
        unary.send(try framed([request("orders", ["y"], partition: 1)]), end: true)
        try peer.run()
        #expect(calls.allSatisfy { $0.status == .ok } && unary.status == .ok)
        #expect(Set(try calls.map { try $0.results()[0].batches[0].baseOffset }).count == 3)
        #expect(try batches(1) == 1)
    }

    @Test func `A batch does not outgrow the topic's limit`() throws {
        let call = try open()
        let value = String(repeating: "v", count: 6000)
        let nine = (0..<9).map { _ in request([value], partition: 0) }
        call.send(try framed([request("orders", [value], partition: 0)] + nine), end: true)
        try peer.run()
        #expect(try call.results().compactMap { $0.batches.first?.baseOffset } == Array(0..<10))
        #expect(try batches(0) == 4)
    }

    @Test func `Keys spread one request over partitions, and positions tell which record went where`() throws {
        let call = try open()
        let keys = (0..<20).map { "key-\($0)" }
        call.send(
            try framed([
                .with {
                    $0.topic = "orders"
                    $0.records = keys.map { key in .with { $0.key = .init(key.utf8) } }
                }
            ]), end: true)
        try peer.run()
        let result = try #require(try call.results().first)
        #expect(result.batches.count == 2)
        #expect(result.batches.flatMap(\.recordPositions).sorted() == Array(0..<20))
        for batch in result.batches {
            for position in batch.recordPositions {
                #expect(KeyPartitioner.partition(ofKey: ByteBuffer(string: keys[Int(position)]), count: 2) == batch.partition)
            }
        }
    }

    @Test func `A request that is wrong has an error, and the others go on`() throws {
        let call = try open()
        let old: Int64 = 4_000_000_000_000
        call.send(
            try framed([
                request("orders", ["a"], partition: 0), request([], partition: 0), request(["b"], partition: 7),
                request(["c"], partition: -1), request(["future"], partition: 0, timestamp: old),
                request([String(repeating: "v", count: 30_000)], partition: 0), request("no/name", ["d"]),
                request("orders", ["e"], partition: 0),
            ]), end: true)
        try peer.run()
        let results = try call.results()
        #expect(results.map(\.request) == Array(0..<8) && call.status == .ok)
        #expect(
            results.map { GRPCStatus.Code(rawValue: Int($0.error.code)) } == [
                .ok, .invalidArgument, .notFound, .invalidArgument, .invalidArgument, .resourceExhausted,
                .invalidArgument, .ok,
            ])
        #expect(results[0].batches[0].baseOffset == 0 && results[7].batches[0].baseOffset == 1)
        #expect(results[4].error.reason == "INVALID_TIMESTAMP" && results[5].error.message.contains("max.message.bytes"))
        #expect(results.dropFirst().dropLast().allSatisfy { !$0.error.message.isEmpty })
    }

    @Test func `A neighbour's bad record spoils nobody's request`() throws {
        let good = try open()
        let bad = try open()
        good.send(try framed([request("orders", ["a"], partition: 0)]), end: true)
        bad.send(try framed([request("orders", ["b"], partition: 0, timestamp: 4_000_000_000_000)]), end: true)
        try peer.run()
        #expect(try good.results()[0].batches[0].baseOffset == 0 && !good.results()[0].hasError)
        #expect(try bad.results()[0].error.reason == "INVALID_TIMESTAMP")
    }

    @Test func `Bytes that are no request end the stream, after what came before`() throws {
        let call = try open()
        var bytes = try framed([request("orders", ["a"], partition: 0)])
        bytes.writeMessage { $0.writeBytes([0x1a, 0x7f]) }
        call.send(bytes, end: false)
        try peer.run()
        #expect(try call.results().count == 1 && call.status == .invalidArgument)
    }

    @Test func `A topic is created for a stream, and requests after it wait`() throws {
        let call = try open()
        call.send(try framed([request("fresh", ["a"]), request(["b"]), request("orders", ["c"], partition: 0)]), end: true)
        try peer.run()
        let results = try call.results()
        #expect(results.map(\.request) == [0, 1, 2] && call.status == .ok)
        #expect(results[0].batches[0].baseOffset == 0 && results[1].batches[0].baseOffset == 1)
        let strict = try Fixture(autoCreate: false).connect()
        let refused = try strict.open("/martlet.v1.Streams/PublishStream")
        refused.send(try framed([request("fresh", ["a"])]), end: true)
        try strict.run()
        #expect(try refused.results()[0].error.code == 5 && refused.status == .ok)
    }

    @Test func `A caller that reads no results is not read from beyond the limit`() throws {
        var small = HTTP2Configuration()
        small.streamWindowBytes = 64
        let slow = try fixture.connect(small)
        let call = try slow.open("/martlet.v1.Streams/PublishStream")
        // The client's own window for results is 64 bytes, and its session gives them back: hold them.
        call.stream?.isInboundHeld = true
        let one = try framed([request("orders", [String(repeating: "x", count: 10_000)], partition: 0)])
        for _ in 0..<2000 { call.send(one, end: false) }
        try slow.run()
        let written = try partition(0).offsets.highWatermark
        #expect(written > 100 && written < 700, "\(written)")
        call.stream?.isInboundHeld = false
        call.send(ByteBuffer(), end: true)
        try slow.run()
        #expect(try call.results().map(\.request) == Array(0..<2000) && call.status == .ok)
        #expect(try partition(0).offsets.highWatermark == 2000)
    }

    @Test func `Draining answers what was taken and ends the stream`() throws {
        let call = try open()
        call.send(try framed([request("orders", ["a"], partition: 0)]), end: false)
        try peer.run()
        peer.channel.pipeline.fireUserInboundEventTriggered(DrainEvent(deadline: .now() + .seconds(1)))
        try peer.run()
        #expect(try call.results().count == 1 && call.status == .unavailable)
    }
}
