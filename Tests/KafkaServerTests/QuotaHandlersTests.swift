// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: quotas by Kafka's calls, and what connections of clients over them do.

import Bytes
import KafkaWire
import NIOCore
import NIOEmbedded
import Storage
import Telemetry
import TestSupport
import Testing

@testable import Engine
@testable import KafkaServer

@Suite struct QuotaHandlersTests {
    let test: TestEngine
    let connection: TestConnection

    init() throws {
        try self.init(MemoryFileSystem())
    }

    private init(_ files: any FileSystem) throws {
        test = try TestEngine(fileSystem: files)
        connection = try TestConnection(test)
    }

    private func component(_ type: String, _ match: Int8, _ name: String? = nil) -> DescribeClientQuotasRequest.Component {
        var component = DescribeClientQuotasRequest.Component()
        component.entityType = type
        component.matchType = match
        component.match = name
        return component
    }

    private func entry(_ entity: [(String, String?)], _ ops: [(String, Double?)]) -> AlterClientQuotasRequest.Entry {
        var entry = AlterClientQuotasRequest.Entry()
        entry.entity = entity.map { type, name in
            var part = AlterClientQuotasRequest.Entity()
            part.entityType = type
            part.entityName = name
            return part
        }
        entry.ops = ops.map { key, value in
            var op = AlterClientQuotasRequest.Op()
            op.key = key
            op.value = value ?? 0
            op.remove = value == nil
            return op
        }
        return entry
    }

    private func alter(
        _ entries: [AlterClientQuotasRequest.Entry], validateOnly: Bool = false, version: Int16 = 1
    ) throws -> [AlterClientQuotasResponse.Entry] {
        var request = AlterClientQuotasRequest()
        request.entries = entries
        request.validateOnly = validateOnly
        return try connection.call(request, version: version).entries
    }

    private func limit(_ key: String, _ value: Double, _ entity: [(String, String?)] = [("client-id", "test")]) throws {
        let answers = try alter([entry(entity, [(key, value)])])
        #expect(answers.map(\.errorCode) == [.none])
    }

    @Test(arguments: 0...1 as ClosedRange<Int16>)
    func filtersAreChecked(version: Int16) throws {
        let cases: [([DescribeClientQuotasRequest.Component], KafkaErrorCode)] = [
            ([], .none), ([component("user", 0, "a"), component("client-id", 1)], .none), ([component("ip", 2)], .none),
            ([component("user", 0)], .invalidRequest), ([component("user", 1, "a")], .invalidRequest),
            ([component("user", 9)], .invalidRequest), ([component("", 2)], .invalidRequest),
            ([component("user", 2), component("user", 1)], .invalidRequest),
            ([component("ip", 2), component("user", 2)], .invalidRequest), ([component("group", 2)], .unsupportedVersion),
        ]
        for (components, expected) in cases {
            for strict in [false, true] {
                var request = DescribeClientQuotasRequest()
                request.components = components
                request.strict = strict
                let response = try connection.call(request, version: version)
                #expect(response.errorCode == expected)
                #expect((response.entries?.isEmpty ?? false) == (expected == .none))
            }
        }
    }

    @Test func filtersFindWhatTheyMean() throws {
        let answers = try alter([
            entry([("user", "a")], [("producer_byte_rate", 1)]), entry([("user", nil)], [("producer_byte_rate", 2)]),
            entry([("user", "a"), ("client-id", "c")], [("producer_byte_rate", 3), ("request_percentage", 0.5)]),
            entry([("client-id", nil)], [("consumer_byte_rate", 4)]), entry([("ip", nil)], [("connection_creation_rate", 5)]),
        ])
        #expect(answers.allSatisfy { $0.errorCode == .none })
        let cases: [([DescribeClientQuotasRequest.Component], Bool, [Double])] = [
            ([], false, [1, 2, 3, 4, 5]), ([], true, []), ([component("user", 2)], false, [1, 2, 3]),
            ([component("user", 2)], true, [1, 2]), ([component("user", 0, "a")], true, [1]),
            ([component("user", 1)], false, [2]), ([component("user", 2), component("client-id", 2)], true, [3]),
            ([component("client-id", 1)], false, [4]), ([component("ip", 2)], false, [5]),
            ([component("ip", 0, "10.0.0.1")], false, []),
        ]
        for (components, strict, expected) in cases {
            var request = DescribeClientQuotasRequest()
            request.components = components
            request.strict = strict
            let entries = try #require(try connection.call(request, version: 1).entries)
            #expect(entries.map { $0.values[0].value }.sorted() == expected, "\(components) \(strict)")
        }
    }

    @Test(arguments: 0...1 as ClosedRange<Int16>)
    func whatKafkaRefusesIsRefused(version: Int16) throws {
        let user: [(String, String?)] = [("user", "a")]
        let refused: [AlterClientQuotasRequest.Entry] = [
            entry([], [("producer_byte_rate", 1)]), entry([("group", "a")], [("producer_byte_rate", 1)]),
            entry([("user", "")], [("producer_byte_rate", 1)]), entry([("user", "a"), ("user", "b")], []),
            entry([("ip", "::1"), ("user", "a")], []), entry([("ip", "no address")], [("connection_creation_rate", 1)]),
            entry(user, [("connection_creation_rate", 1)]), entry([("ip", "::1")], [("producer_byte_rate", 1)]),
            entry(user, [("nonsense", 1)]), entry(user, [("producer_byte_rate", 0)]),
            entry(user, [("producer_byte_rate", -1)]), entry(user, [("producer_byte_rate", .nan)]),
            entry(user, [("producer_byte_rate", 1.5)]), entry(user, [("producer_byte_rate", 1e19)]),
            entry(user, [("producer_byte_rate", 1), ("producer_byte_rate", 2)]),
            entry([("ip", "::1")], [("connection_creation_rate", 3e9)]),
            entry([("user", String(repeating: "n", count: QuotaEntity.nameBytesMax + 1))], []),
        ]
        for entry in refused {
            let answers = try alter([entry], version: version)
            #expect(answers.map(\.errorCode) == [.invalidRequest], "\(entry)")
            #expect(answers[0].errorMessage?.isEmpty == false)
            #expect(answers[0].entity.count == entry.entity.count)
        }
        #expect(!test.engine.quotas.isInForce)
    }

    @Test func anEntityIsChangedAsAWholeAndOthersAreNotHeldUp() throws {
        let answers = try alter([
            entry([("user", "a")], [("producer_byte_rate", 1), ("nonsense", 1)]),
            entry([("user", "b")], [("producer_byte_rate", 2), ("nonsense", nil)]),
            entry([("user", "c")], [("producer_byte_rate", 3)]), entry([("user", "c")], [("producer_byte_rate", 4)]),
        ])
        #expect(answers.map(\.errorCode) == [.invalidRequest, .none, .invalidRequest])
        #expect(test.engine.quotas.table.quotas == [QuotaEntity(user: .named("b")): [.producerByteRate: 2]])
        _ = try alter([entry([("user", "b")], [("producer_byte_rate", nil), ("request_percentage", 1)])])
        #expect(test.engine.quotas.table.quotas == [QuotaEntity(user: .named("b")): [.requestPercentage: 1]])
    }

    @Test func aValidationChangesNothing() throws {
        let answers = try alter([entry([("user", "a")], [("producer_byte_rate", 1)])], validateOnly: true)
        #expect(answers.map(\.errorCode) == [.none])
        #expect(!test.engine.quotas.isInForce)
    }

    // MARK: Enforcement

    private func produce(_ bytes: Int, acks: Int16 = 1) -> ProduceRequest {
        var request = ProduceRequest()
        request.acks = acks
        request.timeoutMs = 1000
        var wanted = ProduceRequest.Topic()
        wanted.name = "orders"
        wanted.partitions = [ProduceRequest.Partition(index: 0, records: batch(String(repeating: "v", count: bytes)))]
        request.topics = [wanted]
        return request
    }

    private func fetch(from offset: Int64 = 0, waitMs: Int32 = 0) -> FetchRequest {
        var partition = FetchRequest.Partition()
        partition.fetchOffset = offset
        partition.partitionMaxBytes = 1 << 20
        var wanted = FetchRequest.Topic()
        wanted.topic = "orders"
        wanted.partitions = [partition]
        var request = FetchRequest()
        request.maxBytes = 1 << 20
        request.minBytes = 1
        request.maxWaitMs = waitMs
        request.topics = [wanted]
        return request
    }

    /// Lets the time of a throttle pass.
    private func pass(_ ms: Int32) {
        test.clock.advance(ms: Int64(ms))
        test.loop.advanceTime(by: .milliseconds(Int64(ms)))
    }

    @Test func aProducerOverItsQuotaIsToldAndItsConnectionIsMuted() throws {
        _ = try test.makeTopic()
        try limit("producer_byte_rate", 1000)
        #expect(try connection.call(produce(5000), version: 9).throttleTimeMs == 0)
        let throttled = try connection.call(produce(15_000), version: 9)
        #expect(throttled.topics[0].partitions[0].errorCode == .none, "what is over the quota is still taken")
        #expect((9_000...11_000).contains(throttled.throttleTimeMs))
        // Nothing that comes meanwhile is begun, and nothing more is read.
        let reads = connection.readCount
        try connection.send(ApiVersionsRequest.named, version: 3)
        try connection.send(produce(1), version: 9)
        test.sync()
        #expect(try connection.frame() == nil)
        connection.channel.read()
        #expect(connection.readCount == reads)
        pass(throttled.throttleTimeMs - 1)
        #expect(try connection.frame() == nil)
        pass(1)
        test.sync()
        #expect(try connection.response(ApiVersionsResponse.self, version: 3)?.response.throttleTimeMs == 0)
        let last = try #require(try connection.response(ProduceResponse.self, version: 9)?.response)
        #expect(last.topics[0].partitions[0].baseOffset == 2)
        #expect(connection.readCount > reads)
        let text = test.metrics.text()
        #expect(text.contains(#"martlet_quota_throttle_seconds_count{quota="producer_byte_rate"} "#))
    }

    @Test func aThrottledClientLeavesOthersAlone() throws {
        _ = try test.makeTopic()
        try limit("producer_byte_rate", 1000)
        #expect(try connection.call(produce(30_000), version: 9).throttleTimeMs > 0)
        let other = try TestConnection(test, server: connection.server)
        _ = try other.call(ApiVersionsRequest.named, version: 3)
        // The same client id elsewhere shares the quota.
        #expect(try other.call(produce(10), version: 9).throttleTimeMs > 0)
    }

    @Test func aProducerWithoutAnswersIsMutedToo() throws {
        _ = try test.makeTopic()
        try limit("producer_byte_rate", 1000)
        try connection.send(produce(20_000, acks: 0), version: 9)
        try connection.send(ApiVersionsRequest.named, version: 3)
        test.sync()
        #expect(try connection.frame() == nil)
        pass(11_000)
        test.sync()
        #expect(try connection.frame() != nil)
    }

    /// Records of a simulated disk are sent from memory, where a test sees them.
    @Test func aConsumerOverItsQuotaGetsNothingUntilItMay() throws {
        let other = try QuotaHandlersTests(SimulatedFileSystem(seed: 1))
        try other.fetchesOverTheQuota()
    }

    private func fetchesOverTheQuota() throws {
        _ = try test.makeTopic()
        for _ in 0..<4 { _ = try connection.call(produce(4000), version: 9) }
        try limit("consumer_byte_rate", 1000)
        let first = try connection.call(fetch(), version: 11)
        // No more than the windows allow for: two of the four.
        let sent = first.topics[0].partitions[0].records.length
        #expect(first.throttleTimeMs == 0 && sent > 8000 && sent < 10_000)
        let held = try connection.call(fetch(from: 2), version: 11)
        #expect(held.throttleTimeMs > 0 && held.topics.isEmpty && held.errorCode == .none)
        try connection.send(fetch(from: 2), version: 11)
        test.sync()
        #expect(try connection.frame() == nil)
        pass(11_000)
        test.sync()
        let again = try #require(try connection.response(FetchResponse.self, version: 11)?.response)
        #expect(again.throttleTimeMs == 0 && again.topics[0].partitions[0].records.length == sent)
    }

    @Test func timeOfRequestsIsCountedAndThrottlesTheNextOne() throws {
        try limit("request_percentage", 1)
        let client = connection.kafka.quotaClient
        test.engine.quotas.note(client, .requestPercentage, 500)
        let response = try connection.call(ApiVersionsRequest.named, version: 3)
        #expect(response.throttleTimeMs == 1000)
        try connection.send(ApiVersionsRequest.named, version: 3)
        test.sync()
        #expect(try connection.frame() == nil)
        pass(1000)
        #expect(try connection.response(ApiVersionsResponse.self, version: 3) != nil)
    }

    @Test func aLongPollIsNotWaitedForTwice() throws {
        _ = try test.makeTopic()
        try limit("request_percentage", 1)
        test.engine.quotas.note(connection.kafka.quotaClient, .requestPercentage, 500)
        // Its connection is muted for a second from now on, and what it asks for takes most of that.
        try connection.send(fetch(waitMs: 600), version: 11)
        test.sync()
        #expect(try connection.frame() == nil)
        pass(600)
        test.sync()
        let answer = try #require(try connection.response(FetchResponse.self, version: 11)?.response)
        #expect(answer.throttleTimeMs == 400, "what is left to wait, not what there was when it came")
        test.engine.quotas.note(connection.kafka.quotaClient, .requestPercentage, 500)
        pass(400)
        try connection.send(fetch(waitMs: 5000), version: 11)
        test.sync()
        pass(5000)
        test.sync()
        #expect(try connection.response(FetchResponse.self, version: 11)?.response.throttleTimeMs == 0)
    }

    @Test func oneAddressIsOneEntityHoweverItIsWritten() throws {
        try limit("connection_creation_rate", 1, [("ip", "::ffff:10.0.0.1")])
        #expect(test.engine.quotas.table.quotas.keys.map(\.description) == ["ip 10.0.0.1"])
        var request = DescribeClientQuotasRequest()
        for name in ["10.0.0.1", "::FFFF:10.0.0.1", "0:0:0:0:0:ffff:a00:1"] {
            request.components = [component("ip", 0, name)]
            #expect(try connection.call(request, version: 1).entries?.count == 1)
        }
        for _ in 0..<12 { _ = test.engine.quotas.chargeConnection(from: "10.0.0.1") }
        #expect(test.engine.quotas.chargeConnection(from: "10.0.0.1") > 0)
    }

    @Test(arguments: [4, 5, 6, 7] as [Int16])
    func partitionsBeyondTheQuotaAreRefusedToThoseWhoUnderstandIt(version: Int16) throws {
        try limit("controller_mutation_rate", 1)
        func create(_ names: [String], _ partitions: Int32) throws -> CreateTopicsResponse {
            var request = CreateTopicsRequest()
            request.topics = names.map { name in
                var topic = CreateTopicsRequest.Topic()
                topic.name = name
                topic.numPartitions = partitions
                topic.replicationFactor = 1
                return topic
            }
            return try connection.call(request, version: version)
        }
        let response = try create(["a", "b"], 12)
        let codes = response.topics.map(\.errorCode)
        #expect(codes == (version >= 6 ? [.none, .throttlingQuotaExceeded] : [.none, .none]))
        #expect(response.throttleTimeMs == (version >= 6 ? 1000 : 13_000))
        #expect(test.engine.topics.topic(named: "b") == nil || version < 6)
    }
}
