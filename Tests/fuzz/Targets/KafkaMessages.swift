// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: Kafka requests and responses, every API and version.
//
// kafka-request   a request as in its frame: header, then body
// kafka-response  number of the API in `ApiTable`, number of the version, then the body
//
// Properties: what decodes encodes again, to bytes that decode to the same message; and encoding that
// message once more gives the same bytes.

import KafkaWire
import NIOCore

/// A message type without its type.
private struct AnyMessage: Sendable {
    let check: @Sendable (ByteBuffer, Int16) throws -> Void

    init<Message: KafkaMessage>(_ type: Message.Type) {
        check = { bytes, version in
            var rest = bytes
            guard let message = Self.decode(type, &rest, version) else { return }
            var encoded = ByteBuffer()
            do throws(WireError) {
                try message.encode(into: &encoded, version: version)
            } catch {
                // Text that was repaired (U+FFFD takes three bytes) may outgrow a two-byte length.
                if case .tooLong = error.kind { return }
                throw Violation(description: "\(type) v\(version) decodes but does not encode: \(error)")
            }
            var again = encoded
            guard let second = Self.decode(type, &again, version) else {
                throw Violation(description: "\(type) v\(version) does not read what it wrote")
            }
            try require(again.readableBytes == 0, "\(type) v\(version) leaves bytes of what it wrote")
            try require(second == message, "\(type) v\(version) changes when it is written and read")
        }
    }

    private static func decode<Message: KafkaMessage>(
        _ type: Message.Type, _ bytes: inout ByteBuffer, _ version: Int16
    ) -> Message? {
        do throws(WireError) {
            return try Message(from: &bytes, version: version)
        } catch {
            return nil
        }
    }
}

private struct Pair: Sendable {
    let key: ApiKey
    let request: AnyMessage
    let response: AnyMessage

    init<Request: KafkaRequest>(_ type: Request.Type) {
        key = Request.apiKey
        request = AnyMessage(Request.self)
        response = AnyMessage(Request.Response.self)
    }

    static let all: [Pair] = [
        Pair(ProduceRequest.self), Pair(FetchRequest.self), Pair(ListOffsetsRequest.self),
        Pair(MetadataRequest.self), Pair(OffsetCommitRequest.self), Pair(OffsetFetchRequest.self),
        Pair(FindCoordinatorRequest.self), Pair(JoinGroupRequest.self), Pair(HeartbeatRequest.self),
        Pair(LeaveGroupRequest.self), Pair(SyncGroupRequest.self), Pair(DescribeGroupsRequest.self),
        Pair(ListGroupsRequest.self), Pair(ApiVersionsRequest.self), Pair(CreateTopicsRequest.self),
        Pair(DeleteTopicsRequest.self), Pair(DeleteRecordsRequest.self),
        Pair(InitProducerIdRequest.self), Pair(OffsetForLeaderEpochRequest.self),
        Pair(DescribeConfigsRequest.self), Pair(CreatePartitionsRequest.self),
        Pair(DeleteGroupsRequest.self), Pair(IncrementalAlterConfigsRequest.self),
        Pair(OffsetDeleteRequest.self), Pair(DescribeClusterRequest.self),
        Pair(AddOffsetsToTxnRequest.self), Pair(AddPartitionsToTxnRequest.self),
        Pair(AlterClientQuotasRequest.self), Pair(AlterConfigsRequest.self),
        Pair(AlterPartitionReassignmentsRequest.self), Pair(AlterReplicaLogDirsRequest.self),
        Pair(AlterShareGroupOffsetsRequest.self), Pair(AlterUserScramCredentialsRequest.self),
        Pair(ConsumerGroupDescribeRequest.self), Pair(ConsumerGroupHeartbeatRequest.self),
        Pair(CreateAclsRequest.self), Pair(DeleteAclsRequest.self),
        Pair(DeleteShareGroupOffsetsRequest.self), Pair(DescribeAclsRequest.self),
        Pair(DescribeClientQuotasRequest.self), Pair(DescribeLogDirsRequest.self),
        Pair(DescribeProducersRequest.self), Pair(DescribeQuorumRequest.self),
        Pair(DescribeShareGroupOffsetsRequest.self), Pair(DescribeTopicPartitionsRequest.self),
        Pair(DescribeTransactionsRequest.self), Pair(DescribeUserScramCredentialsRequest.self),
        Pair(ElectLeadersRequest.self), Pair(EndTxnRequest.self),
        Pair(GetTelemetrySubscriptionsRequest.self), Pair(ListConfigResourcesRequest.self),
        Pair(ListPartitionReassignmentsRequest.self), Pair(ListTransactionsRequest.self),
        Pair(PushTelemetryRequest.self), Pair(SaslAuthenticateRequest.self),
        Pair(SaslHandshakeRequest.self), Pair(ShareAcknowledgeRequest.self),
        Pair(ShareFetchRequest.self), Pair(ShareGroupDescribeRequest.self),
        Pair(ShareGroupHeartbeatRequest.self), Pair(TxnOffsetCommitRequest.self),
        Pair(UpdateFeaturesRequest.self), Pair(WriteTxnMarkersRequest.self),
    ]

    static let byKey = Dictionary(uniqueKeysWithValues: all.map { ($0.key.rawValue, $0) })
}

/// The APIs of `ApiTable` that the message targets do not know: none, or the list above is to grow.
var apisWithoutFuzzing: [ApiKey] {
    ApiTable.entries.map(\.key).filter { Pair.byKey[$0.rawValue] == nil }
}

@Sendable func fuzzKafkaRequest(_ input: ByteBuffer) throws {
    var body = input
    let header: RequestHeader
    do throws(WireError) {
        header = try RequestHeader(from: &body)
    } catch {
        return
    }
    var encoded = ByteBuffer()
    do throws(WireError) {
        try header.encode(into: &encoded)
    } catch {
        return
    }
    let again = try? RequestHeader(from: &encoded)
    try require(again == header, "a request header changes when it is written and read")
    try Pair.byKey[header.apiKey]?.request.check(body, header.apiVersion)
}

@Sendable func fuzzKafkaResponse(_ input: ByteBuffer) throws {
    var body = input
    let pair = Pair.all[Int(body.choice()) % Pair.all.count]
    guard let entry = ApiTable.entry(key: pair.key.rawValue) else { return }
    let version = entry.versions.lowerBound + Int16(body.choice()) % Int16(entry.versions.count)
    _ = try? ResponseHeader(from: &body, to: pair.key, version: version)
    try pair.response.check(body, version)
}
