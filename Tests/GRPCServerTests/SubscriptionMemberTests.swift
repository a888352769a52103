// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: members of a group that do not read.

import Bytes
import Contract
import Engine
import GRPCWire
import HTTP2
import NIOCore
import NIOEmbedded
import SwiftProtobuf
import Testing

@testable import GRPCServer

@Suite struct SubscriptionMemberTests {
    private let fixture: Fixture
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        _ = try fixture.topic("jobs", partitions: 2)
        var narrow = HTTP2Configuration()
        narrow.streamWindowBytes = 20_000
        peer = try fixture.connect(narrow)
        for partition: Int32 in [0, 1] {
            for _ in 0..<4 {
                #expect(try peer.publish("jobs", [String(repeating: "x", count: 30_000)], partition: partition).status == .ok)
            }
        }
    }

    private func join(maxPollIntervalMs: UInt32 = 2000) throws -> Call {
        let call = try peer.open("/martlet.v1.Streams/Subscribe")
        let request = Martlet_V1_SubscribeRequest.with {
            $0.topics = [.with { $0.topic = "jobs" }]
            $0.member = .with {
                $0.group = "workers"
                $0.maxPollIntervalMs = maxPollIntervalMs
            }
            $0.origin = .earliest
            $0.maxRecordsPerMessage = 1
        }
        let bytes: [UInt8] = try request.serializedBytes()
        var framed = ByteBuffer()
        framed.writeMessage { $0.writeBytes(bytes) }
        call.send(framed, end: true)
        return call
    }

    private func assignments(_ call: Call) throws -> [(epoch: Int32, partitions: Set<Int32>)] {
        try call.decoded(Martlet_V1_SubscribeResponse.self).filter(\.hasAssignment).map {
            ($0.assignment.memberEpoch, Set($0.assignment.partitions.map(\.partition)))
        }
    }

    private func pass(seconds: Int) throws {
        for _ in 0..<(seconds * 2) {
            fixture.clock.advance(ms: 500)
            fixture.loop.advanceTime(by: .milliseconds(500))
            try peer.run()
        }
    }

    @Test func `A member that reads nothing loses its partitions to the others, and joins again when it reads`() throws {
        let stalled = try join()
        stalled.stream?.isInboundHeld = true
        try pass(seconds: 1)
        let reader = try join(maxPollIntervalMs: 0)
        try pass(seconds: 30)
        #expect(try assignments(reader).last?.partitions == [0, 1])
        #expect(stalled.status == nil && !stalled.isClosed)

        stalled.stream?.isInboundHeld = false
        try pass(seconds: 30)
        let told = try assignments(stalled)
        #expect(told.contains { $0.epoch == 0 && $0.partitions.isEmpty })
        #expect(told.last?.partitions.count == 1 && (told.last?.epoch ?? 0) > 0)
        #expect(try assignments(reader).last?.partitions.count == 1)
    }

    @Test func `A member for whom there is nothing stays one`() throws {
        let first = try join()
        try pass(seconds: 20)
        #expect(try first.records().count == 8)
        let told = try assignments(first)
        #expect(told.last?.partitions == [0, 1] && !told.dropFirst(2).contains { $0.partitions.isEmpty })
    }

    @Test(arguments: [UInt32(999), 86_400_001])
    func `An interval out of range is refused`(interval: UInt32) throws {
        let call = try join(maxPollIntervalMs: interval)
        try peer.run()
        #expect(call.status == .invalidArgument && call.message.contains("max_poll_interval_ms"))
    }
}
