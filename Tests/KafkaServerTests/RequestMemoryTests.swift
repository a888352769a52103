// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: connections that share memory for requests that have not arrived whole.

import Bytes
import KafkaWire
import NIOCore
import NIOEmbedded
import Records
import TestSupport
import Testing
import Transport

@testable import KafkaServer

@Suite("Connections that share memory")
struct RequestMemoryConnectionTests {
    private let test: TestEngine
    private let memory = RequestMemory(limit: 50_000, askEvery: .seconds(10))

    init() throws {
        test = try TestEngine()
        _ = try test.makeTopic()
    }

    private func connect() throws -> TestConnection { try TestConnection(test, memory: memory) }

    /// A produce request of somewhat more than `size` bytes.
    private func request(_ size: Int) throws -> ByteBuffer {
        var builder = RecordBatchBuilder()
        builder.append(key: nil, value: ByteBuffer(repeating: 0x61, count: size), timestamp: 1)
        var request = ProduceRequest()
        request.acks = 1
        request.timeoutMs = 1000
        var partition = ProduceRequest.Partition()
        partition.records = builder.finish()
        var topic = ProduceRequest.Topic()
        topic.name = "orders"
        topic.partitions = [partition]
        request.topics = [topic]
        var bytes = ByteBuffer()
        try Frame.write(request, version: 9, correlationId: 7, clientId: nil, into: &bytes)
        return bytes
    }

    private func isAnswered(_ connection: TestConnection) throws -> Bool {
        test.turn()
        return try connection.response(ProduceResponse.self, version: 9)?.response.topics[0].partitions[0].errorCode
            == KafkaErrorCode.none
    }

    /// Whether the connection would read from its socket now.
    private func reads(_ connection: TestConnection) -> Bool {
        let before = connection.readCount
        connection.channel.read()
        return connection.readCount > before
    }

    @Test func anUnfinishedRequestHoldsItsWholeSizeAndGivesItBackWhenItIsWhole() throws {
        let connection = try connect()
        var bytes = try request(30_000)
        let size = bytes.readableBytes
        try connection.channel.writeInbound(bytes.readSlice(length: 10_000)!)
        #expect(memory.used == size && reads(connection))
        try connection.channel.writeInbound(bytes.readSlice(length: 10_000)!)
        #expect(memory.used == size)
        try connection.channel.writeInbound(bytes)
        #expect(memory.used == 0)
        #expect(try isAnswered(connection))
    }

    @Test func aRequestThatComesInOnePieceNeedsNoShare() throws {
        memory.adjust(by: 1_000_000)
        let connection = try connect()
        try connection.channel.writeInbound(try request(30_000))
        #expect(try isAnswered(connection))
        #expect(memory.waitingCount == 0)
    }

    @Test func aConnectionIsNotReadWhileOthersHoldAllMemory() throws {
        let (first, second) = (try connect(), try connect())
        var one = try request(60_000)
        var two = try request(20_000)
        try first.channel.writeInbound(one.readSlice(length: 10_000)!)
        try second.channel.writeInbound(two.readSlice(length: 10_000)!)
        #expect(memory.waitingCount == 1)
        #expect(reads(first) && !reads(second))
        let before = second.readCount
        try first.channel.writeInbound(one)
        test.turn()
        #expect(try isAnswered(first))
        // The read that was held is made up for.
        #expect(second.readCount == before + 1 && memory.waitingCount == 0)
        try second.channel.writeInbound(two)
        #expect(try isAnswered(second))
        #expect(memory.used == 0)
    }

    @Test func aConnectionThatEndsGivesItsShareBack() throws {
        let (first, second) = (try connect(), try connect())
        var one = try request(60_000)
        var two = try request(20_000)
        try first.channel.writeInbound(one.readSlice(length: 10_000)!)
        try second.channel.writeInbound(two.readSlice(length: 10_000)!)
        first.channel.close(promise: nil)
        test.turn()
        #expect(memory.waitingCount == 0 && memory.used > 0)
        second.channel.close(promise: nil)
        test.turn()
        #expect(memory.used == 0)
    }

    @Test func whoAnnouncesARequestAndSendsNoneOfItIsClosedWhenOthersWait() throws {
        let (silent, waiting) = (try connect(), try connect())
        var one = try request(60_000)
        var two = try request(20_000)
        try silent.channel.writeInbound(one.readSlice(length: 9_000)!)
        test.loop.advanceTime(by: .seconds(100))
        // Nobody waits: nobody minds.
        #expect(silent.isOpen)
        try waiting.channel.writeInbound(two.readSlice(length: 9_000)!)
        test.loop.advanceTime(by: .seconds(11))
        #expect(silent.isOpen)
        test.loop.advanceTime(by: .seconds(10))
        #expect(!silent.isOpen && waiting.isOpen)
        test.turn()
        try waiting.channel.writeInbound(two)
        #expect(try isAnswered(waiting))
    }

    @Test func aSlowRequestThatGoesOnArrivingIsNotClosed() throws {
        let (slow, waiting) = (try connect(), try connect())
        var one = try request(60_000)
        var two = try request(20_000)
        try slow.channel.writeInbound(one.readSlice(length: 9_000)!)
        try waiting.channel.writeInbound(two.readSlice(length: 9_000)!)
        for _ in 0..<20 {
            test.loop.advanceTime(by: .seconds(10))
            try slow.channel.writeInbound(one.readSlice(length: 1_000)!)
        }
        #expect(slow.isOpen)
        try slow.channel.writeInbound(one)
        #expect(try isAnswered(slow))
    }
}
