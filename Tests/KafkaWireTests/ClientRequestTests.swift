// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: requests as real clients sent them (`golden/capture.py`: librdkafka,
// kafka-python, aiokafka, kcat) are understood, and written back byte for byte.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct ClientRequestTests {
    /// What the capture's flows asked for, by API: fields that the decoded request must show.
    private static let expected: [ApiKey: [String]] = [
        .produce: ["name=orders", "index=0"],
        .fetch: ["partition=0", "fetchOffset=0", "maxWaitMs=500"],
        .listOffsets: ["name=orders", "partitionIndex=0"],
        .offsetCommit: ["groupId=martlet-group"],
        .offsetFetch: ["groupId=martlet-group", "name=orders", "partitionIndexes=0"],
        .joinGroup: ["groupId=martlet-group", "protocolType=consumer"],
        .syncGroup: ["groupId=martlet-group", "generationId=1", "memberId=member-1"],
        .heartbeat: ["groupId=martlet-group", "generationId=1", "memberId=member-1"],
        .leaveGroup: ["groupId=martlet-group", "memberId=member-1"],
        .describeGroups: ["groups=martlet-group"],
        .deleteGroups: ["groupsNames=martlet-group"],
        .createTopics: ["name=orders", "numPartitions=3", "replicationFactor=1"],
        .createPartitions: ["name=orders", "count=6"],
        .deleteRecords: ["name=orders", "partitionIndex=0", "offset=5"],
        .describeConfigs: ["resourceType=2", "resourceName=orders"],
        .incrementalAlterConfigs: [
            "resourceType=2", "resourceName=orders", "name=retention.ms", "value=1000",
            "configOperation=0",
        ],
        .addOffsetsToTxn: ["transactionalId=transaction-1", "groupId=martlet-group"],
        .endTxn: ["transactionalId=transaction-1", "producerId=4000", "committed=true"],
        .txnOffsetCommit: [
            "transactionalId=transaction-1", "groupId=martlet-group", "producerId=4000",
            "name=orders", "partitionIndex=0", "committedOffset=7",
        ],
        .createAcls: [
            "resourceType=2", "resourceName=orders", "resourcePatternType=3",
            "principal=User:alice", "host=*", "operation=3", "permissionType=3",
        ],
        .describeAcls: ["resourceTypeFilter=2", "resourceNameFilter=orders"],
        .deleteAcls: ["resourceTypeFilter=2", "resourceNameFilter=orders"],
        .electLeaders: ["electionType=0", "topic=orders", "partitions=0"],
        .describeUserScramCredentials: ["name=alice"],
        .describeProducers: ["name=orders", "partitionIndexes=0"],
        .describeTransactions: ["transactionalIds=transaction-1"],
        .describeTopicPartitions: ["name=orders"],
        .updateFeatures: ["feature=transaction.version", "maxVersionLevel=2", "upgradeType=1"],
        .saslHandshake: ["mechanism=PLAIN"],
        .consumerGroupHeartbeat: [
            "groupId=martlet-group", "memberEpoch=0", "subscribedTopicNames=orders",
        ],
        .pushTelemetry: ["subscriptionId=1"],
        .shareGroupHeartbeat: ["groupId=shared", "memberEpoch=0", "subscribedTopicNames=orders"],
        .shareFetch: ["groupId=shared", "shareSessionEpoch=0", "partitionIndex=0"],
        .shareAcknowledge: ["groupId=shared", "shareSessionEpoch=-1"],
    ]

    /// Requests with bytes behind their end, and how many. librdkafka ends this one with an empty
    /// list of tags too many; a broker has to ignore it, as Kafka does.
    private static let surplus = ["librdkafka AlterUserScramCredentials 0": 1]

    @Test func everyCapturedRequestIsReadToItsEndAndWrittenBackAsItWas() throws {
        for vector in try GoldenFile.read("clients.txt") {
            let name = vector.words.joined(separator: " ")
            let label = Comment(rawValue: name)
            let surplus = Self.surplus[name] ?? 0
            var frame = vector.bytes
            let header = try RequestHeader(from: &frame)
            let key = try #require(ApiKey(rawValue: header.apiKey))
            #expect(key.name == vector.words[1], label)
            #expect(String(header.apiVersion) == vector.words[2], label)
            #expect(header.clientId == "golden", label)
            let message = try #require(
                CataloguedMessage.all.first { $0.apiKey == key && $0.isRequest }, label)
            let (body, unread) = try message.recode(frame, header.apiVersion, 0)
            #expect(unread == surplus, label)
            var encoded = ByteBuffer()
            try header.encode(into: &encoded)
            encoded.writeImmutableBuffer(body)
            encoded.writeRepeatingByte(0, count: surplus)
            #expect(encoded == vector.bytes, label)
            let fields = try message.fields(frame, header.apiVersion)
            for field in Self.expected[key] ?? [] {
                #expect(fields.contains(field), "\(label): \(field) not in \(fields.sorted())")
            }
        }
    }

    @Test func theCaptureHasTheVersionsThatEachClientPrefers() throws {
        let captured = Set(
            try GoldenFile.read("clients.txt").map { $0.words.joined(separator: " ") })
        for request in [
            "librdkafka Produce 10", "librdkafka Fetch 16", "librdkafka ListOffsets 7",
            "librdkafka OffsetCommit 9", "librdkafka JoinGroup 5", "kafka-python Produce 9",
            "kafka-python ApiVersions 4", "kafka-python OffsetFetch 8", "aiokafka Produce 7",
            "aiokafka Fetch 11", "aiokafka ApiVersions 0", "kcat ApiVersions 3", "kcat Metadata 4",
            "librdkafka AddPartitionsToTxn 0", "librdkafka TxnOffsetCommit 3",
            "librdkafka ConsumerGroupHeartbeat 1", "librdkafka ShareFetch 1",
            "kafka-python AddPartitionsToTxn 3", "kafka-python DescribeAcls 3",
            "aiokafka TxnOffsetCommit 0",
        ] {
            #expect(captured.contains(request), "\(request)")
        }
    }
}
