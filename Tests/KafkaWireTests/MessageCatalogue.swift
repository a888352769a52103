// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: every message, for tests that run over all of them.
//
// A message missing here fails `RoundTripTests`, which compares this list with `ApiTable`.

import NIOCore
import Testing

@testable import KafkaWire

/// One message type with what tests do to it, the type erased.
struct CataloguedMessage: Sendable, CustomTestStringConvertible {
    let name: String
    let apiKey: ApiKey
    let isRequest: Bool
    /// The bytes of a message filled by `FillingCoder`.
    let filled: @Sendable (Int16, FillingCoder.Content) throws -> ByteBuffer
    /// Whether these bytes decode, to the last one, to the message `FillingCoder` makes.
    let decodesToFilled: @Sendable (ByteBuffer, Int16, FillingCoder.Content) throws -> Bool
    /// Decodes and encodes again, into a buffer with so much room; returns the new bytes and how
    /// many were not read.
    let recode: @Sendable (ByteBuffer, Int16, _ room: Int) throws -> (ByteBuffer, unread: Int)
    /// Decodes, and throws if that fails.
    let decode: @Sendable (ByteBuffer, Int16) throws -> Void

    /// `name=value` of every field of the decoded message, structures flattened.
    let fields: @Sendable (ByteBuffer, Int16) throws -> Set<String>
    /// Decodes, and says how much memory the message holds (`FootprintCoder`).
    let footprint: @Sendable (ByteBuffer, Int16) throws -> Int

    /// Whether it has a throttle time, and whether servers know that it has.
    let throttleTime: (isThere: Bool, isKnown: Bool)

    var testDescription: String { name }
    var versions: ClosedRange<Int16> { ApiTable.entry(apiKey).versions }

    init<Message: KafkaMessage & FieldStructure>(_ type: Message.Type, isRequest: Bool) {
        name = "\(type)"
        apiKey = type.apiKey
        self.isRequest = isRequest
        throttleTime = (
            Mirror(reflecting: Message()).children.contains { $0.label == "throttleTimeMs" },
            Message.self is any ThrottledResponse.Type
        )
        @Sendable func fill(_ version: Int16, _ content: FillingCoder.Content) throws -> Message {
            var coder = FillingCoder(
                version: version, isFlexible: try Message.isFlexible(version), content: content)
            var message = Message()
            message.walk(&coder)
            return message
        }
        filled = { version, content in
            var buffer = ByteBuffer()
            try fill(version, content).encode(into: &buffer, version: version)
            return buffer
        }
        decodesToFilled = { bytes, version, content in
            var buffer = bytes
            let message = try Message(from: &buffer, version: version)
            return try message == fill(version, content) && buffer.readableBytes == 0
        }
        recode = { bytes, version, room in
            var buffer = bytes
            let message = try Message(from: &buffer, version: version)
            var encoded = ByteBuffer()
            encoded.reserveCapacity(room)
            try message.encode(into: &encoded, version: version)
            return (encoded, buffer.readableBytes)
        }
        decode = { bytes, version in
            var buffer = bytes
            _ = try Message(from: &buffer, version: version)
        }
        fields = { bytes, version in
            var buffer = bytes
            return fieldValues(of: try Message(from: &buffer, version: version))
        }
        footprint = { bytes, version in
            var buffer = bytes
            var message = try Message(from: &buffer, version: version)
            var coder = FootprintCoder(version: version)
            message.walk(&coder)
            return coder.total
        }
    }

    static let all: [CataloguedMessage] = [
        pair(ProduceRequest.self),
        pair(FetchRequest.self),
        pair(ListOffsetsRequest.self),
        pair(MetadataRequest.self),
        pair(OffsetCommitRequest.self),
        pair(OffsetFetchRequest.self),
        pair(FindCoordinatorRequest.self),
        pair(JoinGroupRequest.self),
        pair(HeartbeatRequest.self),
        pair(LeaveGroupRequest.self),
        pair(SyncGroupRequest.self),
        pair(DescribeGroupsRequest.self),
        pair(ListGroupsRequest.self),
        pair(SaslHandshakeRequest.self),
        pair(ApiVersionsRequest.self),
        pair(CreateTopicsRequest.self),
        pair(DeleteTopicsRequest.self),
        pair(DeleteRecordsRequest.self),
        pair(InitProducerIdRequest.self),
        pair(OffsetForLeaderEpochRequest.self),
        pair(AddPartitionsToTxnRequest.self),
        pair(AddOffsetsToTxnRequest.self),
        pair(EndTxnRequest.self),
        pair(WriteTxnMarkersRequest.self),
        pair(TxnOffsetCommitRequest.self),
        pair(DescribeAclsRequest.self),
        pair(CreateAclsRequest.self),
        pair(DeleteAclsRequest.self),
        pair(DescribeConfigsRequest.self),
        pair(AlterConfigsRequest.self),
        pair(AlterReplicaLogDirsRequest.self),
        pair(DescribeLogDirsRequest.self),
        pair(SaslAuthenticateRequest.self),
        pair(CreatePartitionsRequest.self),
        pair(DeleteGroupsRequest.self),
        pair(ElectLeadersRequest.self),
        pair(IncrementalAlterConfigsRequest.self),
        pair(AlterPartitionReassignmentsRequest.self),
        pair(ListPartitionReassignmentsRequest.self),
        pair(OffsetDeleteRequest.self),
        pair(DescribeClientQuotasRequest.self),
        pair(AlterClientQuotasRequest.self),
        pair(DescribeUserScramCredentialsRequest.self),
        pair(AlterUserScramCredentialsRequest.self),
        pair(DescribeQuorumRequest.self),
        pair(UpdateFeaturesRequest.self),
        pair(DescribeClusterRequest.self),
        pair(DescribeProducersRequest.self),
        pair(DescribeTransactionsRequest.self),
        pair(ListTransactionsRequest.self),
        pair(ConsumerGroupHeartbeatRequest.self),
        pair(ConsumerGroupDescribeRequest.self),
        pair(GetTelemetrySubscriptionsRequest.self),
        pair(PushTelemetryRequest.self),
        pair(ListConfigResourcesRequest.self),
        pair(DescribeTopicPartitionsRequest.self),
        pair(ShareGroupHeartbeatRequest.self),
        pair(ShareGroupDescribeRequest.self),
        pair(ShareFetchRequest.self),
        pair(ShareAcknowledgeRequest.self),
        pair(DescribeShareGroupOffsetsRequest.self),
        pair(AlterShareGroupOffsetsRequest.self),
        pair(DeleteShareGroupOffsetsRequest.self),
    ].flatMap { $0 }

    private static func pair<Request: KafkaRequest & FieldStructure>(
        _ type: Request.Type
    ) -> [CataloguedMessage] where Request.Response: FieldStructure {
        [
            CataloguedMessage(type, isRequest: true),
            CataloguedMessage(Request.Response.self, isRequest: false),
        ]
    }
}
