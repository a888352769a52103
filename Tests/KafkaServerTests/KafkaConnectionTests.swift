// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: order, negotiation, and what breaks a connection.

import KafkaWire
import NIOCore
import NIOEmbedded
import Records
import Testing
import TestSupport
import Transport

@testable import Engine
@testable import KafkaServer

@Suite struct KafkaConnectionTests {
    private func produce(_ values: String..., acks: Int16 = 1, topic: String = "orders") -> ProduceRequest {
        var request = ProduceRequest()
        request.acks = acks
        request.timeoutMs = 1000
        var wanted = ProduceRequest.Topic()
        wanted.name = topic
        wanted.partitions = values.map { ProduceRequest.Partition(index: 0, records: batch($0)) }
        request.topics = [wanted]
        return request
    }

    private func fetch(_ topic: String, from offset: Int64, minBytes: Int32 = 1, waitMs: Int32 = 500) -> FetchRequest {
        var partition = FetchRequest.Partition()
        partition.fetchOffset = offset
        partition.partitionMaxBytes = 1 << 20
        var wanted = FetchRequest.Topic()
        wanted.topic = topic
        wanted.partitions = [partition]
        var request = FetchRequest()
        request.maxWaitMs = waitMs
        request.minBytes = minBytes
        request.topics = [wanted]
        return request
    }

    @Test func repliesKeepTheOrderOfTheRequests() throws {
        let test = try TestEngine(durability: .disk)
        _ = try test.makeTopic()
        let connection = try TestConnection(test)
        // The produce waits for a sync, the version request is answered at once: it has to wait all the same.
        let first = try connection.send(produce("a", acks: -1), version: 9)
        let second = try connection.send(ApiVersionsRequest.named, version: 3)
        test.turn()
        #expect(try connection.frame() == nil)
        test.sync()
        #expect(try connection.response(ProduceResponse.self, version: 9)?.correlationId == first)
        #expect(try connection.response(ApiVersionsResponse.self, version: 3)?.correlationId == second)
    }

    @Test func aVersionFromTheFutureIsAnsweredInVersionZero() throws {
        let test = try TestEngine()
        let connection = try TestConnection(test)
        // ApiVersions version 99, correlation id 7, client id "x", no tagged fields.
        try connection.send(bytes: [0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 7, 0, 1, 120, 0])
        test.turn()
        let answer = try #require(try connection.response(ApiVersionsResponse.self, version: 0))
        #expect(answer.correlationId == 7)
        #expect(answer.response.errorCode == .unsupportedVersion)
        #expect(answer.response.apiKeys.map(\.apiKey) == [18])
        #expect(connection.isOpen)
    }

    @Test func produceIsAdvertisedFromZeroAndRefusedBelowThree() throws {
        let test = try TestEngine()
        let connection = try TestConnection(test)
        let response = try connection.call(ApiVersionsRequest.named, version: 3)
        let entry = try #require(response.apiKeys.first { $0.apiKey == 0 })
        #expect(entry.minVersion == 0)
        #expect(entry.maxVersion == 12)
        try connection.send(bytes: [0, 0, 0, 11, 0, 0, 0, 2, 0, 0, 0, 7, 0, 1, 120])
        test.turn()
        #expect(!connection.isOpen)
    }

    @Test(arguments: [
        [0, 0, 0, 11, 0x7f, 0xff, 0, 0, 0, 0, 0, 7, 0, 1, 120] as [UInt8],  // an API nobody knows
        [0x7f, 0xff, 0xff, 0xff],  // two gigabytes announced
        [0xff, 0xff, 0xff, 0xff],  // a negative length
        [0, 0, 0, 2, 0, 3],  // a header cut short
        [0, 0, 0, 16, 0, 3, 0, 1, 0, 0, 0, 7, 0, 1, 120, 0x7f, 0xff, 0xff, 0xff, 0],  // two billion topics
    ])
    func whatIsNoRequestClosesThisConnectionOnly(_ bytes: [UInt8]) throws {
        let test = try TestEngine()
        let broken = try TestConnection(test)
        let other = try TestConnection(test)
        try broken.send(bytes: bytes)
        test.turn()
        #expect(!broken.isOpen)
        _ = try other.call(ApiVersionsRequest.named, version: 3)
    }

    @Test func everyVersionOfProduceAndFetchCarriesARecord() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic()
        let connection = try TestConnection(test)
        for version in ApiTable.entry(key: 0)!.versions {
            let response = try connection.call(produce("v\(version)"), version: version)
            #expect(response.topics[0].partitions[0].errorCode == .none, "Produce \(version)")
            #expect(response.topics[0].partitions[0].baseOffset == Int64(version - 3))
        }
        for version in ApiTable.entry(key: 1)!.versions {
            var request = fetch("orders", from: 0)
            request.topics[0].topicId = topic.id
            _ = try connection.send(request, version: version)
            test.turn()
        }
        #expect(connection.isOpen)
    }

    @Test func aFetchWaitsForRecordsAndIsWokenByThem() throws {
        let test = try TestEngine()
        _ = try test.makeTopic()
        let consumer = try TestConnection(test)
        let producer = try TestConnection(test)
        try consumer.send(fetch("orders", from: 0), version: 11)
        test.turn()
        #expect(try consumer.channel.readOutbound(as: IOData.self) == nil)
        _ = try producer.call(produce("a"), version: 9)
        test.turn()
        #expect(try consumer.channel.readOutbound(as: IOData.self) != nil)
    }

    @Test func aFetchIsAnsweredEmptyAtItsDeadline() throws {
        let test = try TestEngine()
        _ = try test.makeTopic()
        let consumer = try TestConnection(test)
        try consumer.send(fetch("orders", from: 0, waitMs: 300), version: 11)
        test.loop.advanceTime(by: .milliseconds(299))
        #expect(try consumer.frame() == nil)
        test.loop.advanceTime(by: .milliseconds(1))
        let response = try #require(try consumer.response(FetchResponse.self, version: 11)).response
        #expect(response.topics[0].partitions[0].errorCode == .none)
        #expect(response.topics[0].partitions[0].records == .bytes(ByteBuffer()))
    }

    @Test(arguments: [
        ("nothing", Int64(0), KafkaErrorCode.unknownTopicOrPartition), ("orders", 1, .offsetOutOfRange),
        ("orders", -1, .offsetOutOfRange),
    ])
    func aFetchThatCannotBeServedIsAnsweredAtOnce(_ topic: String, _ offset: Int64, _ code: KafkaErrorCode) throws {
        let test = try TestEngine()
        _ = try test.makeTopic()
        let consumer = try TestConnection(test)
        try consumer.send(fetch(topic, from: offset), version: 11)
        test.turn()
        let response = try #require(try consumer.response(FetchResponse.self, version: 11)).response
        #expect(response.topics[0].partitions[0].errorCode == code)
    }

    @Test func aContinuedFetchSessionIsRefusedCleanly() throws {
        let test = try TestEngine()
        let connection = try TestConnection(test)
        var request = fetch("orders", from: 0)
        request.sessionId = 5
        request.sessionEpoch = 3
        #expect(try connection.call(request, version: 11).errorCode == .fetchSessionIdNotFound)
    }

    @Test func acksZeroGetsNoReplyAndARefusalClosesTheConnection() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic()
        let connection = try TestConnection(test)
        try connection.send(produce("a", acks: 0), version: 9)
        test.turn()
        #expect(try connection.frame() == nil)
        #expect(try read(topic.partitions[0]) == ["0:a"])
        try connection.send(produce("b", acks: 0, topic: "nothing"), version: 9)
        test.turn()
        #expect(!connection.isOpen)
    }

    @Test func anUnknownAcksIsRefused() throws {
        let test = try TestEngine()
        _ = try test.makeTopic()
        let response = try TestConnection(test).call(produce("a", acks: 2), version: 9)
        #expect(response.topics[0].partitions[0].errorCode == .invalidRequiredAcks)
    }

    @Test func metadataNamesTheAddressTheClientUsedOrTheAdvertisedOne() throws {
        let test = try TestEngine()
        let used = try TestConnection(test).call(MetadataRequest(), version: 9).brokers[0]
        #expect((used.host, used.port) == ("broker.example", 9092))
        let advertised = KafkaServer.Advertised(host: "outside.example", port: 19_092)
        let told = try TestConnection(test, advertised: advertised).call(MetadataRequest(), version: 9).brokers[0]
        #expect((told.host, told.port) == ("outside.example", 19_092))
    }

    @Test func metadataCreatesAMissingTopicUnlessToldNotTo() throws {
        let test = try TestEngine()
        let connection = try TestConnection(test)
        var request = MetadataRequest()
        request.topics = [MetadataRequest.Topic(name: "made")]
        request.allowAutoTopicCreation = false
        #expect(try connection.call(request, version: 9).topics[0].errorCode == .unknownTopicOrPartition)
        request.allowAutoTopicCreation = true
        let made = try connection.call(request, version: 12).topics[0]
        #expect(made.errorCode == .none)
        #expect(made.partitions.count == 1)
        #expect(made.topicId == test.engine.topics.topic(named: "made")?.id)
        request.topics = [MetadataRequest.Topic(name: "not/legal")]
        #expect(try connection.call(request, version: 9).topics[0].errorCode == .invalidTopicException)
    }

    @Test func drainingAnswersWhatWaitsAndCloses() throws {
        let test = try TestEngine()
        _ = try test.makeTopic()
        let connection = try TestConnection(test)
        try connection.send(fetch("orders", from: 0, waitMs: 60_000), version: 11)
        test.turn()
        connection.channel.pipeline.fireUserInboundEventTriggered(DrainEvent(deadline: .now() + .seconds(5)))
        test.turn()
        #expect(try connection.response(FetchResponse.self, version: 11) != nil)
        #expect(!connection.isOpen)
    }

    @Test func requestsBeyondTheLimitWaitForFreeSlots() throws {
        let test = try TestEngine(durability: .disk)
        _ = try test.makeTopic()
        let connection = try TestConnection(test)
        let count = Limits.requestsInFlight + 10
        var bytes = ByteBuffer()
        for id in 0..<count {
            try Frame.write(
                produce("\(id)", acks: -1), version: 9, correlationId: Int32(id), clientId: nil, into: &bytes)
        }
        try connection.channel.writeInbound(bytes)
        test.turn()
        #expect(test.engine.topics.topic(named: "orders")?.partition(0)?.offsets.highWatermark == Int64(Limits.requestsInFlight))
        for _ in 0..<3 { test.sync() }
        for id in 0..<count {
            #expect(try connection.response(ProduceResponse.self, version: 9)?.correlationId == Int32(id))
        }
    }
}
