// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: a share session remembers topics, and gives no right to them.

import KafkaWire
import TestSupport
import Testing
import Transport

@testable import Engine
@testable import KafkaServer

@Suite struct ShareAccessTests {
    private let member = "member-of-this-test"
    private let test: TestEngine
    private let connection: TestConnection
    private let topic: Topic

    init() throws {
        test = try TestEngine()
        connection = try TestConnection(test)
        topic = try test.makeTopic("orders")
        try #expect(fetch(epoch: 0, named: true).errorCode == .none)
        _ = test.append(batch("secret"), to: try #require(topic.partition(0)))
        test.sync()
    }

    private func fetch(
        epoch: Int32, named: Bool = false, forgotten: Bool = false, over own: TestConnection? = nil
    ) throws -> ShareFetchResponse {
        var request = ShareFetchRequest()
        (request.groupId, request.memberId, request.shareSessionEpoch) = ("workers", member, epoch)
        (request.maxBytes, request.maxRecords) = (1 << 20, 10)
        if named {
            var wanted = ShareFetchRequest.Topic()
            wanted.topicId = topic.id
            wanted.partitions = [ShareFetchRequest.Partition()]
            request.topics = [wanted]
        }
        if forgotten {
            var gone = ShareFetchRequest.ForgottenTopic()
            gone.topicId = topic.id
            gone.partitions = [0]
            request.forgottenTopicsData = [gone]
        }
        return try (own ?? connection).call(request, version: 2)
    }

    private func take(_ rules: AccessRule...) {
        test.engine.access.add(rules, on: test.loop) { _ in }
        for _ in 0..<4 { test.sync() }
    }

    private func records(_ response: ShareFetchResponse) -> Int {
        response.responses.flatMap(\.partitions).reduce(0) { $0 + $1.records.length }
    }

    private func refusals(_ response: ShareFetchResponse) -> [KafkaErrorCode] {
        response.responses.flatMap(\.partitions).map(\.errorCode)
    }

    @Test func aSessionDoesNotOutliveTheRightToReadItsTopics() throws {
        take(AccessRule(.allow, "User:ANONYMOUS", .read, .group, "workers"))
        let refused = try fetch(epoch: 1)
        #expect(refusals(refused) == [.topicAuthorizationFailed] && records(refused) == 0)
        // Who drops the topic goes on, and with the right the session does.
        try #expect(fetch(epoch: 2, forgotten: true).errorCode == .none)
        take(AccessRule(.allow, "User:ANONYMOUS", .read, .topic, "orders"))
        try #expect(records(fetch(epoch: 3, named: true)) > 0)
    }

    @Test func theMembersIdIsNoKeyToItsTopicsForOthers() throws {
        take(
            AccessRule(.allow, "User:ANONYMOUS", .read, .topic, "orders"),
            AccessRule(.allow, "User:*", .read, .group, "workers"))
        let mallory = try TestConnection(test) { $0.principal = "User:mallory" }
        let refused = try fetch(epoch: 1, over: mallory)
        #expect(refusals(refused) == [.topicAuthorizationFailed] && records(refused) == 0)
        try #expect(records(fetch(epoch: 2)) > 0)
    }

    @Test func aSessionEndsWithoutTheRightToRead() throws {
        take(AccessRule(.allow, "User:ANONYMOUS", .read, .group, "workers"))
        try #expect(fetch(epoch: -1).errorCode == .none)
        try #expect(fetch(epoch: 1).errorCode == .shareSessionNotFound)
    }
}
