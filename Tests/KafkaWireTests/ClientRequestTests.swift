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
    ]

    @Test func everyCapturedRequestIsReadToItsLastByteAndWrittenBackAsItWas() throws {
        for vector in try GoldenFile.read("clients.txt") {
            let label = Comment(rawValue: vector.words.joined(separator: " "))
            var frame = vector.bytes
            let header = try RequestHeader(from: &frame)
            let key = try #require(ApiKey(rawValue: header.apiKey))
            #expect(key.name == vector.words[1], label)
            #expect(String(header.apiVersion) == vector.words[2], label)
            #expect(header.clientId == "golden", label)
            let message = try #require(
                CataloguedMessage.all.first { $0.apiKey == key && $0.isRequest }, label)
            let (body, unread) = try message.recode(frame, header.apiVersion, 0)
            #expect(unread == 0, label)
            var encoded = ByteBuffer()
            try header.encode(into: &encoded)
            encoded.writeImmutableBuffer(body)
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
        ] {
            #expect(captured.contains(request), "\(request)")
        }
    }
}
