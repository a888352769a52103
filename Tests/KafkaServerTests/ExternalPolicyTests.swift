// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: requests that wait for an external policy: nothing happens before, nothing overtakes them.

import Bytes
import Engine
import KafkaWire
import NIOCore
import NIOEmbedded
import Storage
import TestSupport
import Testing

@testable import KafkaServer

@Suite struct ExternalPolicyTests {
    let policy: TestPolicy
    let test: TestEngine
    let connection: TestConnection

    init() throws {
        let policy = TestPolicy()
        self.policy = policy
        test = try TestEngine(policy: policy) { $0.access.superUsers = ["User:root"] }
        connection = try TestConnection(test)
    }

    private func produce(_ topic: String, _ value: String, acks: Int16 = 1) -> ProduceRequest {
        var request = ProduceRequest()
        request.acks = acks
        request.timeoutMs = 1000
        var wanted = ProduceRequest.Topic()
        wanted.name = topic
        wanted.partitions = [ProduceRequest.Partition(index: 0, records: batch(value))]
        request.topics = [wanted]
        return request
    }

    private func settle(_ answer: PolicyAnswer = .allowed) {
        while !policy.open.isEmpty {
            policy.answer(answer)
            test.sync()
        }
    }

    @Test func nothingHappensBeforeAllIsDecided() throws {
        let topic = try test.makeTopic("t")
        try connection.send(produce("t", "a"), version: 9)
        test.sync()
        #expect(policy.open.map(\.question.name) == ["t"] && policy.open[0].question.operation == .write)
        #expect(try connection.frame() == nil)
        #expect(try read(try #require(topic.partition(0))).isEmpty)
        settle()
        #expect(try connection.response(ProduceResponse.self, version: 9)?.response.topics[0].partitions[0].errorCode == KafkaErrorCode.none)
        #expect(try read(try #require(topic.partition(0))) == ["0:a"])
    }

    @Test func whatIsDeniedOrCannotBeDecidedDoesNotHappen() throws {
        let topic = try test.makeTopic("t")
        for answer in [PolicyAnswer.failed("it is down"), .denied] {
            try connection.send(produce("t", "a"), version: 9)
            test.sync()
            settle(answer)
            let response = try connection.response(ProduceResponse.self, version: 9)?.response
            #expect(response?.topics[0].partitions[0].errorCode == .topicAuthorizationFailed)
        }
        #expect(try read(try #require(topic.partition(0))).isEmpty)
    }

    /// One part of a request is known to be allowed, the other is not known: neither is done before both are.
    @Test func aRequestIsNotDoneInParts() throws {
        let known = try test.makeTopic("known")
        _ = try test.makeTopic("new")
        try connection.send(produce("known", "a"), version: 9)
        settle()
        _ = try connection.frame()
        var both = produce("known", "b")
        both.topics += produce("new", "c").topics
        try connection.send(both, version: 9)
        test.sync()
        #expect(policy.open.map(\.question.name) == ["new"])
        #expect(try read(try #require(known.partition(0))) == ["0:a"] && (try connection.frame()) == nil)
        settle(.denied)
        let answers = try connection.response(ProduceResponse.self, version: 9)?.response.topics ?? []
        #expect(answers.map(\.name) == ["known", "new"])
        #expect(answers.map { $0.partitions[0].errorCode } == [.none, .topicAuthorizationFailed])
        #expect(try read(try #require(known.partition(0))) == ["0:a", "1:b"])
    }

    /// Pipelined requests take effect in their order, whatever of them is known already.
    @Test func nothingOvertakesARequestThatWaits() throws {
        let topic = try test.makeTopic("t")
        _ = try test.makeTopic("u")
        try connection.send(produce("t", "0"), version: 9)
        settle()
        _ = try connection.frame()
        var first = produce("t", "1")
        first.topics += produce("u", "x").topics
        try connection.send(first, version: 9)
        try connection.send(produce("t", "2"), version: 9)
        try connection.send(produce("t", "3", acks: 0), version: 9)
        try connection.send(ApiVersionsRequest(), version: 0)
        test.sync()
        #expect(try connection.frame() == nil)
        #expect(try read(try #require(topic.partition(0))) == ["0:0"])
        let reads = connection.readCount
        connection.channel.read()
        #expect(connection.readCount == reads)
        settle()
        for id in [Int32(2), 3] {
            #expect(try connection.response(ProduceResponse.self, version: 9)?.correlationId == id)
        }
        #expect(try connection.response(ApiVersionsResponse.self, version: 0)?.correlationId == 5)
        #expect(try read(try #require(topic.partition(0))) == ["0:0", "1:1", "2:2", "3:3"])
        #expect(connection.readCount > reads)
    }

    @Test func otherConnectionsGoOn() throws {
        _ = try test.makeTopic("t")
        try connection.send(produce("t", "a"), version: 9)
        let other = try TestConnection(test)
        try other.send(ApiVersionsRequest(), version: 0)
        test.sync()
        #expect(try other.response(ApiVersionsResponse.self, version: 0) != nil)
    }

    @Test func aRequestOfAConnectionThatEndedIsNotDone() throws {
        let topic = try test.makeTopic("t")
        try connection.send(produce("t", "a"), version: 9)
        test.sync()
        try connection.channel.close().wait()
        settle()
        #expect(try read(try #require(topic.partition(0))).isEmpty)
    }

    @Test func aDenialWithoutAReplyClosesTheConnection() throws {
        _ = try test.makeTopic("t")
        try connection.send(produce("t", "a", acks: 0), version: 9)
        test.sync()
        #expect(connection.isOpen)
        settle(.denied)
        #expect(!connection.isOpen)
    }

    /// What a list may show is asked when the list is known; the answer waits, and its effect does not.
    @Test func aListShowsWhatThePolicyAllows() throws {
        for name in ["a", "b", "c"] { _ = try test.makeTopic(name) }
        var request = MetadataRequest()
        request.topics = nil
        try connection.send(request, version: 9)
        test.sync()
        #expect(Set(policy.open.map(\.question.name)) == ["a", "b", "c"])
        try connection.send(ApiVersionsRequest(), version: 0)
        test.sync()
        #expect(try connection.frame() == nil)
        policy.answer { $0.name == "b" ? .denied : .allowed }
        test.sync()
        let response = try connection.response(MetadataResponse.self, version: 9)?.response
        #expect(response?.topics.map(\.name).sorted { $0 ?? "" < $1 ?? "" } == ["a", "c"])
        #expect(try connection.response(ApiVersionsResponse.self, version: 0) != nil)
    }

    @Test func authorizedOperationsAreThoseThatThePolicyAllows() throws {
        policy.immediate = { [.read, .describe].contains($0.operation) ? .allowed : .denied }
        _ = try test.makeTopic("t")
        var request = MetadataRequest()
        var topic = MetadataRequest.Topic()
        topic.name = "t"
        request.topics = [topic]
        request.includeTopicAuthorizedOperations = true
        let response = try connection.call(request, version: 9)
        let expected = AccessOperation.read.bit | AccessOperation.describe.bit
        #expect(response.topics[0].topicAuthorizedOperations == Int32(bitPattern: expected))
    }

    @Test func aProducerNeedsTheRightToWriteOnceOnly() throws {
        for (isAllowed, code) in [(false, KafkaErrorCode.clusterAuthorizationFailed), (true, .none)] {
            test.clock.advance(ms: 60_000)
            policy.immediate = { $0.operation == .idempotentWrite && $0.resource == .cluster && isAllowed ? .allowed : .denied }
            #expect(try connection.call(InitProducerIdRequest(), version: 4).errorCode == code)
        }
    }

    @Test func aPatternFindsWhatThePolicyAllows() throws {
        for name in ["p-1", "p-2", "q"] { _ = try test.makeTopic(name) }
        policy.immediate = { $0.resource == .topic && $0.name == "p-2" ? .denied : .allowed }
        var request = ConsumerGroupHeartbeatRequest()
        request.groupId = "g"
        request.memberId = "m"
        request.rebalanceTimeoutMs = 1000
        request.subscribedTopicRegex = "p-.*"
        request.topicPartitions = []
        var response = try connection.call(request, version: 1)
        #expect(response.errorCode == .none)
        let ids = response.assignment?.topicPartitions.map(\.topicId) ?? []
        #expect(ids == [test.engine.topics.topic(named: "p-1")?.id])
        #expect(!policy.asked.contains { $0.name == "q" })
        // Rights are looked at again, and asked again, once they are old.
        policy.immediate = { _ in .allowed }
        test.clock.advance(ms: 120_000)
        test.loop.advanceTime(by: .seconds(31))
        var next = ConsumerGroupHeartbeatRequest()
        next.groupId = "g"
        next.memberId = "m"
        next.memberEpoch = response.memberEpoch
        next.rebalanceTimeoutMs = -1
        response = try connection.call(next, version: 1)
        for _ in 0..<3 where response.assignment?.topicPartitions.count != 2 {
            next.memberEpoch = response.memberEpoch
            response = try connection.call(next, version: 1)
        }
        #expect(response.assignment?.topicPartitions.count == 2)
    }
}
