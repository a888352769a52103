// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: CreateTopics and DeleteTopics against what Kafka answers.

import Bytes
import Engine
import KafkaWire
import NIOCore
import TestSupport
import Testing

@testable import KafkaServer

@Suite struct TopicHandlersTests {
    let test: TestEngine
    let connection: TestConnection

    init() throws {
        test = try TestEngine { $0.defaultPartitions = 3 }
        connection = try TestConnection(test)
    }

    private func topic(
        _ name: String, partitions: Int32 = 1, replicas: Int16 = 1, assignments: [(Int32, [Int32])] = [],
        configs: [(String, String?)] = []
    ) -> CreateTopicsRequest.Topic {
        var topic = CreateTopicsRequest.Topic()
        topic.name = name
        topic.numPartitions = partitions
        topic.replicationFactor = replicas
        topic.assignments = assignments.map { index, brokers in
            var assignment = CreateTopicsRequest.Assignment()
            assignment.partitionIndex = index
            assignment.brokerIds = brokers
            return assignment
        }
        topic.configs = configs.map { name, value in
            var config = CreateTopicsRequest.Config()
            config.name = name
            config.value = value
            return config
        }
        return topic
    }

    private func create(
        _ topics: [CreateTopicsRequest.Topic], validateOnly: Bool = false, version: Int16 = 7
    ) throws -> [CreateTopicsResponse.Topic] {
        var request = CreateTopicsRequest()
        request.topics = topics
        request.validateOnly = validateOnly
        return try connection.call(request, version: version).topics
    }

    @Test(arguments: 2...7 as ClosedRange<Int16>)
    func aTopicIsCreatedInEveryVersion(version: Int16) throws {
        let answer = try #require(try create([topic("t", partitions: -1, replicas: -1)], version: version).first)
        #expect(answer.errorCode == .none && answer.errorMessage == nil)
        let made = try #require(test.engine.topics.topic(named: "t"))
        #expect(made.partitionCount == 3)
        #expect(answer.topicId == (version >= 7 ? made.id : .zero))
        #expect(answer.numPartitions == (version >= 5 ? 3 : -1))
        #expect(answer.replicationFactor == (version >= 5 ? 1 : -1))
        #expect((answer.configs ?? []).count == (version >= 5 ? TopicConfigurationKey.all.count : 0))
    }

    @Test func configurationIsAnsweredWithItsSources() throws {
        _ = try ConfigurationCalls(connection: connection).set(4, "", "log.segment.ms", "1")
        #expect(try ConfigurationCalls(connection: connection).set(4, "", "log.roll.ms", "9") == .none)
        let answer = try create([topic("t", configs: [("retention.ms", "5")])])[0]
        let configs = Dictionary(uniqueKeysWithValues: (answer.configs ?? []).map { ($0.name, $0) })
        #expect(configs["retention.ms"]?.value == "5" && configs["retention.ms"]?.configSource == 1)
        #expect(configs["segment.ms"]?.value == "9" && configs["segment.ms"]?.configSource == 3)
        #expect(configs["segment.bytes"]?.configSource == 5)
    }

    @Test func whatCannotBeCreatedIsRefusedWithKafkasCode() throws {
        _ = try test.makeTopic("there")
        _ = try test.makeTopic("a.b")
        let cases: [(CreateTopicsRequest.Topic, KafkaErrorCode)] = [
            (topic("there"), .topicAlreadyExists),
            (topic("a_b"), .invalidTopicException),
            (topic(""), .invalidTopicException),
            (topic("a b"), .invalidTopicException),
            (topic(".."), .invalidTopicException),
            (topic(String(repeating: "n", count: 250)), .invalidTopicException),
            (topic("__consumer_offsets"), .invalidTopicException),
            (topic("__cluster_metadata"), .invalidTopicException),
            (topic("t", partitions: 0), .invalidPartitions),
            (topic("t", partitions: -2), .invalidPartitions),
            (topic("t", partitions: .max), .invalidPartitions),
            (topic("t", replicas: 0), .invalidReplicationFactor),
            (topic("t", replicas: -2), .invalidReplicationFactor),
            (topic("t", replicas: 2), .invalidReplicationFactor),
            (topic("t", configs: [("retention.mss", "1")]), .invalidConfig),
            (topic("t", configs: [("retention.ms", "soon")]), .invalidConfig),
            (topic("t", configs: [("retention.ms", nil)]), .invalidConfig),
            (topic("t", partitions: 1, replicas: -1, assignments: [(0, [1])]), .invalidRequest),
            (topic("t", partitions: -1, replicas: 1, assignments: [(0, [1])]), .invalidRequest),
            (topic("t", partitions: -1, replicas: -1, assignments: [(0, [2])]), .invalidReplicaAssignment),
            (topic("t", partitions: -1, replicas: -1, assignments: [(0, [])]), .invalidReplicaAssignment),
            (topic("t", partitions: -1, replicas: -1, assignments: [(0, [1, 1])]), .invalidReplicaAssignment),
            (topic("t", partitions: -1, replicas: -1, assignments: [(1, [1])]), .invalidReplicaAssignment),
            (topic("t", partitions: -1, replicas: -1, assignments: [(0, [1]), (0, [1])]), .invalidReplicaAssignment),
        ]
        for (wanted, expected) in cases {
            for version: Int16 in 2...7 {
                for validateOnly in [false, true] {
                    let answer = try #require(try create([wanted], validateOnly: validateOnly, version: version).first)
                    #expect(answer.errorCode == expected, "\(wanted)")
                    #expect(answer.errorMessage?.isEmpty == false && answer.name == wanted.name)
                }
            }
        }
        #expect(test.engine.topics.all.map(\.name) == ["a.b", "there"])
    }

    @Test func aNameGivenTwiceIsAnsweredOnceAndNotCreated() throws {
        let answers = try create([topic("twice"), topic("once"), topic("twice")])
        #expect(answers.map(\.name) == ["twice", "once"])
        #expect(answers.map(\.errorCode) == [.invalidRequest, .none])
        #expect(test.engine.topics.topic(named: "twice") == nil)
        #expect(try create([]).isEmpty)
    }

    @Test func onlyValidatingCreatesNothing() throws {
        let answer = try create([topic("t", partitions: -1, replicas: -1, assignments: [(1, [1]), (0, [1])])], validateOnly: true)[0]
        #expect(answer.errorCode == .none && answer.numPartitions == 2 && answer.topicId == .zero)
        #expect(test.engine.topics.topic(named: "t") == nil)
    }

    // MARK: Deleting

    private func delete(_ names: [String], version: Int16) throws -> [DeleteTopicsResponse.Topic] {
        var request = DeleteTopicsRequest()
        if version >= 6 {
            request.topics = names.map { entry($0) }
        } else {
            request.topicNames = names
        }
        return try connection.call(request, version: version).topics
    }

    private func entry(_ name: String? = nil, id: TopicId = .zero) -> DeleteTopicsRequest.Topic {
        var entry = DeleteTopicsRequest.Topic()
        entry.name = name
        entry.topicId = id
        return entry
    }

    private func delete(_ entries: [DeleteTopicsRequest.Topic]) throws -> [KafkaErrorCode] {
        var request = DeleteTopicsRequest()
        request.topics = entries
        return try connection.call(request, version: 6).topics.map(\.errorCode)
    }

    @Test(arguments: 1...6 as ClosedRange<Int16>)
    func topicsAreDeletedByNameInEveryVersion(version: Int16) throws {
        _ = try test.makeTopic("a")
        _ = try test.makeTopic("b")
        let answers = try delete(["a", "nothing", "a b", "b", "b"], version: version)
        #expect(answers.map(\.name) == ["a", "nothing", "a b", "b"])
        #expect(answers.map(\.errorCode) == [.none, .unknownTopicOrPartition, .unknownTopicOrPartition, .invalidRequest])
        #expect(test.engine.topics.all.map(\.name) == ["b"])
        #expect(try delete([], version: version).isEmpty)
    }

    @Test func topicsAreDeletedByIdAndNotByBoth() throws {
        let topic = try test.makeTopic("a")
        let stranger = TopicId(high: 9, low: 9)
        #expect(try delete([entry("a", id: topic.id)]) == [.invalidRequest])
        #expect(try delete([entry()]) == [.invalidRequest])
        #expect(try delete([entry(id: stranger)]) == [.unknownTopicId])
        #expect(try delete([entry("a"), entry(id: topic.id)]) == [.invalidRequest])
        #expect(test.engine.topics.topic(named: "a") != nil)
        #expect(try delete([entry(id: topic.id)]) == [.none])
        #expect(test.engine.topics.topic(named: "a") == nil)
    }

    @Test func theBrokersOwnTopicsStay() throws {
        let own = test.engine.topics.create(
            TopicSpecification(name: "__consumer_offsets", partitions: 1, isInternal: true), on: test.loop)
        test.sync()
        _ = try own.wait()
        #expect(try delete([entry("__consumer_offsets")]) == [.invalidTopicException])
    }
}
