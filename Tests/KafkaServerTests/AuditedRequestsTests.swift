// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: every API that changes something is audited, or it is said here why not.

import KafkaWire
import NIOCore
import TestSupport
import Testing

@testable import Engine
@testable import KafkaServer

@Suite struct AuditedRequestsTests {
    /// Why an API has no events of changes.
    private enum Reason {
        /// It changes nothing.
        case reads
        /// Records, and what their producers need for them.
        case records
        /// What members of groups do all day.
        case membership
        /// It has events of its own (`login`).
        case login
        /// One broker has nothing to change there.
        case neverChanges
        /// What clients tell of themselves.
        case telemetry
    }

    private static let notAudited: [ApiKey: Reason] = [
        .produce: .records, .fetch: .records, .shareFetch: .records, .shareAcknowledge: .records, .initProducerId: .records,
        .addPartitionsToTxn: .records, .addOffsetsToTxn: .records, .endTxn: .records, .txnOffsetCommit: .records,
        .listOffsets: .reads, .metadata: .reads, .apiVersions: .reads, .describeCluster: .reads, .describeConfigs: .reads,
        .describeLogDirs: .reads, .offsetForLeaderEpoch: .reads, .findCoordinator: .reads, .offsetFetch: .reads,
        .describeGroups: .reads, .consumerGroupDescribe: .reads, .listGroups: .reads, .describeProducers: .reads,
        .describeTransactions: .reads, .listTransactions: .reads, .describeAcls: .reads, .describeUserScramCredentials: .reads,
        .listPartitionReassignments: .reads, .describeClientQuotas: .reads, .describeQuorum: .reads, .listConfigResources: .reads,
        .describeTopicPartitions: .reads, .shareGroupDescribe: .reads, .describeShareGroupOffsets: .reads,
        .getTelemetrySubscriptions: .reads, .pushTelemetry: .telemetry,
        .joinGroup: .membership, .syncGroup: .membership, .heartbeat: .membership, .leaveGroup: .membership,
        .consumerGroupHeartbeat: .membership, .shareGroupHeartbeat: .membership,
        .saslHandshake: .login, .saslAuthenticate: .login,
        .alterReplicaLogDirs: .neverChanges, .electLeaders: .neverChanges, .alterPartitionReassignments: .neverChanges,
    ]

    private static var audited: Set<ApiKey> {
        func key<Handler: KafkaHandler>(_ handler: Handler.Type) -> ApiKey? {
            Handler.Request.self is any AuditedRequest.Type ? Handler.Request.apiKey : nil
        }
        return Set(Router.handlers.compactMap { key($0) })
    }

    private let lines = AuditLines()
    private let test: TestEngine
    private let connection: TestConnection

    init() throws {
        test = try TestEngine(audit: lines.log())
        connection = try TestConnection(test)
    }

    @Test func everyServedAPIIsAuditedOrSaysWhyNot() {
        let served = Set(ApiTable.served.map(\.key))
        let excused = Set(Self.notAudited.keys)
        #expect(Self.audited.isDisjoint(with: excused))
        #expect(served.subtracting(Self.audited).subtracting(excused).isEmpty, "a new API: is it audited, or why not?")
        #expect(excused.isSubset(of: served))
    }

    @Test func everyAuditedAPIHasEventsWithTheStateBeforeAndAfter() throws {
        let topic = try test.makeTopic("orders")
        for _ in 0..<3 { _ = test.append(batch("v"), to: try #require(topic.partition(0))) }
        test.sync()
        var seen: Set<ApiKey> = []
        for (key, before, after, call) in changes {
            let known = lines.all.count
            try call()
            let events = lines.all.dropFirst(known).filter { $0.contains(#""event":"change""#) && $0.contains("\"operation\":\"\(key.name)\"") }
            #expect(events.count == 1, "\(key.name): \(lines.all.dropFirst(known))")
            let event = events.first ?? ""
            #expect(event.contains(#""outcome":"succeeded""#) && event.contains(#""principal":"User:ANONYMOUS""#), "\(event)")
            #expect(event.contains("\"before\":\(before)") && event.contains("\"after\":\(after)"), "\(event)")
            seen.insert(key)
        }
        #expect(seen == Self.audited, "an audited API without a request here")
    }

    @Test func moreFiltersThanAreServedAreNotHeldAgainstTheRules() throws {
        var request = DeleteAclsRequest()
        request.filters = Array(repeating: anyRule(), count: Limits.resourcesPerRequest + 1)
        let exchange = Exchange(
            connection: connection.kafka, apiKey: ApiKey.deleteAcls.rawValue, version: 3, correlationId: 1, slot: 0, startedNs: 0)
        try change(createRule())
        #expect(request.auditTargets(exchange).isEmpty)
        request.filters.removeLast()
        #expect(request.auditTargets(exchange).count == 1)
    }

    @Test func usersAreFoundByTheirNames() throws {
        try change(user("alice"))
        try change(user("bob"))
        #expect(test.engine.access.credentials(of: "alice").map(\.key.user) == ["alice"])
        #expect(test.engine.access.credentials(of: "carol").isEmpty && test.engine.access.credentials().count == 2)
    }

    // MARK: What changes something

    private typealias Change = (key: ApiKey, before: String, after: String, call: () throws -> Void)

    /// In an order in which each finds what it needs.
    private var changes: [Change] {
        [
            (.createTopics, "null", #"{"partitions":"1"}"#, { try change(createTopic()) }),
            (.createPartitions, #"{"partitions":"1"}"#, #"{"partitions":"2"}"#, { try change(createPartitions()) }),
            (.alterConfigs, #"{"partitions":"1"}"#, #"{"partitions":"1","retention.ms":"5"}"#, { try change(alterConfigs()) }),
            (.incrementalAlterConfigs, #"{"partitions":"1","retention.ms":"5"}"#, #"{"partitions":"1","retention.ms":"6"}"#,
                { try change(incrementalAlterConfigs()) }),
            (.deleteRecords, #"{"start of 0":"0"}"#, #"{"start of 0":"2"}"#, { try change(deleteRecords()) }),
            (.offsetCommit, "null", #"{"orders-0":"7"}"#, { try change(offsetCommit()) }),
            (.offsetDelete, #"{"orders-0":"7"}"#, "null", { try change(offsetDelete()) }),
            (.deleteGroups, #"{"type":"group"}"#, "null", {
                _ = try connection.call(offsetCommit(), version: 8)
                try change(deleteGroups())
            }),
            (.alterShareGroupOffsets, "null", #"{"orders-0":"1"}"#, { try change(alterShareGroupOffsets()) }),
            (.deleteShareGroupOffsets, #"{"orders-0":"1"}"#, "null", { try change(deleteShareGroupOffsets()) }),
            (.createAcls, "null", #"{"rule":"#, { try change(createRule()) }),
            (.deleteAcls, #"{"rule":"#, "null", { try change(deleteRules()) }),
            (.alterUserScramCredentials, "null", #"{"SCRAM-SHA-256":"4096 iterations"}"#, { try change(user("alice")) }),
            (.alterClientQuotas, "null", #"{"producer_byte_rate":"1000.0"}"#, { try change(quota()) }),
            (.updateFeatures, #"{"level":"2"}"#, #"{"level":"1"}"#, { try change(updateFeatures()) }),
            (.writeTxnMarkers, #"{"committed up to, in 0":"3"}"#, #"{"committed up to, in 0":"4"}"#, { try change(writeMarkers()) }),
            (.deleteTopics, #"{"partitions":"2"}"#, "null", { try change(deleteTopics()) }),
        ]
    }

    private func change<Request: KafkaRequest>(_ request: Request) throws {
        _ = try connection.call(request, version: ApiTable.served.first { $0.key == Request.apiKey }?.served.upperBound ?? 0)
    }

    private func createTopic() -> CreateTopicsRequest {
        var topic = CreateTopicsRequest.Topic()
        topic.name = "new"
        topic.numPartitions = 1
        topic.replicationFactor = 1
        var request = CreateTopicsRequest()
        request.topics = [topic]
        return request
    }

    private func createPartitions() -> CreatePartitionsRequest {
        var topic = CreatePartitionsRequest.Topic()
        topic.name = "new"
        topic.count = 2
        topic.assignments = nil
        var request = CreatePartitionsRequest()
        request.topics = [topic]
        return request
    }

    private func deleteTopics() -> DeleteTopicsRequest {
        var topic = DeleteTopicsRequest.Topic()
        topic.name = "new"
        var request = DeleteTopicsRequest()
        request.topics = [topic]
        return request
    }

    private func alterConfigs() -> AlterConfigsRequest {
        var config = AlterConfigsRequest.Config()
        config.name = "retention.ms"
        config.value = "5"
        var resource = AlterConfigsRequest.Resource()
        resource.resourceType = ConfigResourceType.topic
        resource.resourceName = "orders"
        resource.configs = [config]
        var request = AlterConfigsRequest()
        request.resources = [resource]
        return request
    }

    private func incrementalAlterConfigs() -> IncrementalAlterConfigsRequest {
        var config = IncrementalAlterConfigsRequest.Config()
        config.name = "retention.ms"
        config.value = "6"
        var resource = IncrementalAlterConfigsRequest.Resource()
        resource.resourceType = ConfigResourceType.topic
        resource.resourceName = "orders"
        resource.configs = [config]
        var request = IncrementalAlterConfigsRequest()
        request.resources = [resource]
        return request
    }

    private func deleteRecords() -> DeleteRecordsRequest {
        var partition = DeleteRecordsRequest.Partition()
        partition.offset = 2
        var topic = DeleteRecordsRequest.Topic()
        topic.name = "orders"
        topic.partitions = [partition]
        var request = DeleteRecordsRequest()
        request.topics = [topic]
        return request
    }

    private func offsetCommit() -> OffsetCommitRequest {
        var partition = OffsetCommitRequest.Partition()
        partition.committedOffset = 7
        var topic = OffsetCommitRequest.Topic()
        topic.name = "orders"
        topic.partitions = [partition]
        var request = OffsetCommitRequest()
        request.groupId = "readers"
        request.topics = [topic]
        return request
    }

    private func offsetDelete() -> OffsetDeleteRequest {
        var topic = OffsetDeleteRequest.Topic()
        topic.name = "orders"
        topic.partitions = [OffsetDeleteRequest.Partition()]
        var request = OffsetDeleteRequest()
        request.groupId = "readers"
        request.topics = [topic]
        return request
    }

    private func deleteGroups() -> DeleteGroupsRequest {
        var request = DeleteGroupsRequest()
        request.groupsNames = ["readers"]
        return request
    }

    private func alterShareGroupOffsets() -> AlterShareGroupOffsetsRequest {
        var partition = AlterShareGroupOffsetsRequest.Partition()
        partition.startOffset = 1
        var topic = AlterShareGroupOffsetsRequest.Topic()
        topic.topicName = "orders"
        topic.partitions = [partition]
        var request = AlterShareGroupOffsetsRequest()
        request.groupId = "workers"
        request.topics = [topic]
        return request
    }

    private func deleteShareGroupOffsets() -> DeleteShareGroupOffsetsRequest {
        var topic = DeleteShareGroupOffsetsRequest.Topic()
        topic.topicName = "orders"
        var request = DeleteShareGroupOffsetsRequest()
        request.groupId = "workers"
        request.topics = [topic]
        return request
    }

    private func createRule() -> CreateAclsRequest {
        var creation = CreateAclsRequest.Creation()
        creation.resourceType = ResourceType.topic.rawValue
        creation.resourceName = "*"
        creation.principal = "User:*"
        creation.host = "*"
        creation.operation = AccessOperation.all.rawValue
        creation.permissionType = AccessPermission.allow.rawValue
        var cluster = creation
        cluster.resourceType = ResourceType.cluster.rawValue
        cluster.resourceName = AccessRule.clusterName
        var request = CreateAclsRequest()
        request.creations = [cluster]
        return request
    }

    private func anyRule() -> DeleteAclsRequest.Filter {
        var filter = DeleteAclsRequest.Filter()
        (filter.resourceTypeFilter, filter.operation, filter.permissionType, filter.patternTypeFilter) = (1, 1, 1, 1)
        return filter
    }

    private func deleteRules() -> DeleteAclsRequest {
        var request = DeleteAclsRequest()
        request.filters = [anyRule()]
        return request
    }

    private func user(_ name: String) -> AlterUserScramCredentialsRequest {
        var upsertion = AlterUserScramCredentialsRequest.Upsertion()
        upsertion.name = name
        upsertion.mechanism = 1
        upsertion.iterations = 4096
        upsertion.salt = ByteBuffer(string: "salt-salt-salt-salt")
        upsertion.saltedPassword = ByteBuffer(repeating: 1, count: 32)
        var request = AlterUserScramCredentialsRequest()
        request.upsertions = [upsertion]
        return request
    }

    private func quota() -> AlterClientQuotasRequest {
        var entity = AlterClientQuotasRequest.Entity()
        (entity.entityType, entity.entityName) = ("user", "alice")
        var op = AlterClientQuotasRequest.Op()
        (op.key, op.value) = ("producer_byte_rate", 1000)
        var entry = AlterClientQuotasRequest.Entry()
        entry.entity = [entity]
        entry.ops = [op]
        var request = AlterClientQuotasRequest()
        request.entries = [entry]
        return request
    }

    private func updateFeatures() -> UpdateFeaturesRequest {
        var update = UpdateFeaturesRequest.FeatureUpdate()
        (update.feature, update.maxVersionLevel, update.upgradeType) = ("transaction.version", 1, 2)
        var request = UpdateFeaturesRequest()
        request.featureUpdates = [update]
        return request
    }

    private func writeMarkers() -> WriteTxnMarkersRequest {
        var topic = WriteTxnMarkersRequest.Topic()
        topic.name = "orders"
        topic.partitionIndexes = [0]
        var marker = WriteTxnMarkersRequest.Marker()
        marker.producerId = 1
        marker.topics = [topic]
        var request = WriteTxnMarkersRequest()
        request.markers = [marker]
        return request
    }
}
