// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: what administrators ask a cluster of one node: replicas, leaders, the quorum, operations.

import Bytes
import Engine
import KafkaWire
import TestSupport
import Testing

@testable import KafkaServer

@Suite struct ClusterHandlersTests {
    let test: TestEngine
    let connection: TestConnection

    init() throws {
        test = try TestEngine { $0.logDirectory = "/data" }
        connection = try TestConnection(test)
        _ = try test.makeTopic("t", partitions: 2)
    }

    @Test func noReassignmentIsListed() throws {
        var request = ListPartitionReassignmentsRequest()
        for names in [nil, [], ["t", "nothing"]] as [[String]?] {
            request.topics = names?.map { name in
                var topic = ListPartitionReassignmentsRequest.Topic()
                topic.name = name
                topic.partitionIndexes = [0, -1]
                return topic
            }
            #expect(try connection.call(request, version: 0) == ListPartitionReassignmentsResponse())
        }
    }

    @Test(arguments: [
        ("t", 0, [1], KafkaErrorCode.none), ("t", 0, nil, .noReassignmentInProgress), ("t", 0, [2], .invalidReplicaAssignment),
        ("t", 0, [], .invalidReplicaAssignment), ("t", 0, [1, 1], .invalidReplicaAssignment),
        ("t", 0, [1, 2], .invalidReplicaAssignment), ("t", 2, [1], .unknownTopicOrPartition),
        ("t", -1, nil, .unknownTopicOrPartition), ("nothing", 0, [1], .unknownTopicOrPartition),
    ] as [(String, Int32, [Int32]?, KafkaErrorCode)])
    func aPartitionMovesOnlyToWhereItIs(name: String, index: Int32, replicas: [Int32]?, expected: KafkaErrorCode) throws {
        var partition = AlterPartitionReassignmentsRequest.Partition()
        partition.partitionIndex = index
        partition.replicas = replicas
        var topic = AlterPartitionReassignmentsRequest.Topic()
        topic.name = name
        topic.partitions = [partition]
        var request = AlterPartitionReassignmentsRequest()
        request.topics = [topic]
        let response = try connection.call(request, version: 0)
        #expect(response.errorCode == .none && response.responses.map(\.name) == [name])
        #expect(response.responses[0].partitions.map(\.errorCode) == [expected])
    }

    @Test(arguments: 0...2 as ClosedRange<Int16>)
    func noElectionIsNeeded(version: Int16) throws {
        func wanted(_ name: String, _ partitions: [Int32]) -> ElectLeadersRequest.Topic {
            var topic = ElectLeadersRequest.Topic()
            topic.topic = name
            topic.partitions = partitions
            return topic
        }
        var request = ElectLeadersRequest()
        request.topicPartitions = [wanted("t", [0, 1, 2, -1]), wanted("nothing", [0]), wanted("", [])]
        for type: Int8 in version >= 1 ? [0, 1] : [0] {
            request.electionType = type
            let results = try connection.call(request, version: version).replicaElectionResults
            let codes = results.map { $0.partitionResult.map(\.errorCode) }
            let unknown = KafkaErrorCode.unknownTopicOrPartition
            #expect(codes == [[.electionNotNeeded, .electionNotNeeded, unknown, unknown], [unknown], []])
        }
        request.topicPartitions = nil
        let all = try connection.call(request, version: version)
        #expect(all.errorCode == .none && all.replicaElectionResults.map(\.topic) == ["t"])
        #expect(all.replicaElectionResults[0].partitionResult.isEmpty)
        if version >= 1 {
            request.electionType = 7
            #expect(try connection.call(request, version: version).errorCode == .invalidRequest)
        }
    }

    @Test(arguments: 0...2 as ClosedRange<Int16>)
    func theQuorumIsThisNode(version: Int16) throws {
        func ask(_ name: String, _ partitions: [Int32]) throws -> DescribeQuorumResponse {
            var topic = DescribeQuorumRequest.Topic()
            topic.topicName = name
            topic.partitions = partitions.map { index in
                var partition = DescribeQuorumRequest.Partition()
                partition.partitionIndex = index
                return partition
            }
            var request = DescribeQuorumRequest()
            request.topics = [topic]
            return try connection.call(request, version: version)
        }
        let quorum = try #require(try ask("__cluster_metadata", [0]).topics.first?.partitions.first)
        #expect(quorum.errorCode == .none && quorum.leaderId == 1 && quorum.leaderEpoch >= 0)
        #expect(quorum.currentVoters.map(\.replicaId) == [1] && quorum.observers.isEmpty)
        #expect(quorum.highWatermark > 0 && quorum.currentVoters[0].logEndOffset == quorum.highWatermark)
        for (name, partition) in [("__cluster_metadata", 1), ("t", 0), ("", -1)] as [(String, Int32)] {
            let answer = try ask(name, [partition])
            #expect(answer.errorCode == .none && answer.nodes.isEmpty)
            #expect(answer.topics[0].partitions.map(\.errorCode) == [.unknownTopicOrPartition])
        }
    }

    // MARK: DescribeTopicPartitions

    private func describe(
        _ names: [String], limit: Int32 = 2000, cursor: (String, Int32)? = nil
    ) throws -> DescribeTopicPartitionsResponse {
        var request = DescribeTopicPartitionsRequest()
        request.topics = names.map { name in
            var topic = DescribeTopicPartitionsRequest.Topic()
            topic.name = name
            return topic
        }
        request.responsePartitionLimit = limit
        request.cursor = cursor.map { name, index in
            var cursor = DescribeTopicPartitionsRequest.Cursor()
            cursor.topicName = name
            cursor.partitionIndex = index
            return cursor
        }
        return try connection.call(request, version: 0)
    }

    @Test(arguments: [1, 2, 3, 4, 100, 0, -5] as [Int32])
    func theCursorLeadsThroughAllPartitions(limit: Int32) throws {
        _ = try test.makeTopic("b", partitions: 3)
        _ = try test.makeTopic("a", partitions: 1)
        for names in [[], ["t", "b", "a", "b"]] {
            var found: [String] = []
            var cursor: (String, Int32)?
            for _ in 0..<10 {
                let response = try describe(names, limit: limit, cursor: cursor)
                let page = response.topics.flatMap { topic in topic.partitions.map { "\(topic.name ?? "")\($0.partitionIndex)" } }
                #expect(page.count <= max(1, Int(limit)))
                found += page
                cursor = response.nextCursor.map { ($0.topicName, $0.partitionIndex) }
                if cursor == nil { break }
            }
            #expect(cursor == nil)
            #expect(found == ["a0", "b0", "b1", "b2", "t0", "t1"])
        }
    }

    @Test(arguments: [10, 11] as [Int16])
    func versionsThatKnowNoIdsRefuseThem(version: Int16) throws {
        let made = try test.makeTopic("there")
        for (name, id) in [(nil, made.id), (nil, .zero), (nil, TopicId(high: 1, low: 2)), ("there", made.id)] as [(String?, TopicId)] {
            var wanted = MetadataRequest.Topic()
            (wanted.name, wanted.topicId) = (name, id)
            var request = MetadataRequest()
            request.topics = [wanted]
            let answer = try #require(try connection.call(request, version: version).topics.first)
            #expect(answer.errorCode == .invalidRequest && answer.name == name ?? "" && answer.topicId == id)
        }
    }

    @Test func topicsAreDescribedAsMetadataDoes() throws {
        let response = try describe(["t", "nothing", "a b"])
        #expect(response.topics.map(\.name) == ["a b", "nothing", "t"])
        #expect(response.topics.map(\.errorCode) == [.invalidTopicException, .unknownTopicOrPartition, .none])
        let topic = response.topics[2]
        #expect(topic.topicId == test.engine.topics.topic(named: "t")?.id)
        #expect(topic.topicAuthorizedOperations == 0b1101_1111_1000)
        #expect(topic.partitions.allSatisfy { $0.leaderId == 1 && $0.replicaNodes == [1] && $0.isrNodes == [1] })
    }

    @Test func aCursorThatFitsNothingIsRefused() throws {
        #expect(try describe(["t"], cursor: ("s", 0)).topics.map(\.errorCode) == [.invalidRequest])
        #expect(try describe(["t"], cursor: ("t", -1)).topics.map(\.errorCode) == [.invalidRequest])
        #expect(try describe([], cursor: ("t", -1)).topics.isEmpty)
        #expect(try describe([], cursor: ("t", .max)).topics.flatMap(\.partitions).isEmpty)
        #expect(try describe([], cursor: ("zzz", 0)).topics.isEmpty)
    }

    // MARK: The cluster and its operations

    @Test func theClusterIsDescribedByTypeOfEndpoint() throws {
        var request = DescribeClusterRequest()
        request.includeClusterAuthorizedOperations = true
        request.includeFencedBrokers = true
        for version: Int16 in 0...2 {
            let response = try connection.call(request, version: version)
            #expect(response.errorCode == .none && response.controllerId == 1)
            #expect(response.brokers.map(\.brokerId) == [1] && response.brokers[0].isFenced == false)
            #expect(response.clusterAuthorizedOperations == 0b1_1111_1010_0000)
        }
        request.endpointType = 2
        #expect(try connection.call(request, version: 1).errorCode == .mismatchedEndpointType)
        request.endpointType = 9
        #expect(try connection.call(request, version: 2).errorCode == .unsupportedEndpointType)
    }

    @Test(arguments: 8...13 as ClosedRange<Int16>)
    func operationsAreToldOnlyWhenAsked(version: Int16) throws {
        var request = MetadataRequest()
        request.topics = nil
        request.allowAutoTopicCreation = false
        let plain = try connection.call(request, version: version)
        #expect(plain.topics.allSatisfy { $0.topicAuthorizedOperations == .min })
        #expect(plain.clusterAuthorizedOperations == .min)
        request.includeTopicAuthorizedOperations = true
        request.includeClusterAuthorizedOperations = version <= 10
        let told = try connection.call(request, version: version)
        // READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
        #expect(told.topics.map(\.topicAuthorizedOperations) == [0b1101_1111_1000])
        // CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
        #expect(told.clusterAuthorizedOperations == (version <= 10 ? 0b1_1111_1010_0000 : .min))
    }

    @Test(arguments: 1...2 as ClosedRange<Int16>)
    func aReplicaStaysInTheOneDirectory(version: Int16) throws {
        func directory(_ path: String, _ partitions: [(String, [Int32])]) -> AlterReplicaLogDirsRequest.Dir {
            var directory = AlterReplicaLogDirsRequest.Dir()
            directory.path = path
            directory.topics = partitions.map { name, indexes in
                var topic = AlterReplicaLogDirsRequest.Topic()
                topic.name = name
                topic.partitions = indexes
                return topic
            }
            return directory
        }
        var request = AlterReplicaLogDirsRequest()
        request.dirs = [directory("/data", [("t", [0, 5]), ("nothing", [0])]), directory("/other", [("t", [1])]), directory("", [])]
        let results = try connection.call(request, version: version).results
        #expect(results.map(\.topicName) == ["nothing", "t"])
        #expect(results.map { $0.partitions.map(\.errorCode) } == [
            [.unknownTopicOrPartition], [.none, .unknownTopicOrPartition, .logDirNotFound],
        ])
    }
}
