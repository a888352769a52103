// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the responses that can tell a client for how long it is throttled (KIP-219).
//
// Where a version of one has no such field, the client is not told and only feels it.

package protocol ThrottledResponse: KafkaResponse {
    var throttleTimeMs: Int32 { get set }
}

extension AddOffsetsToTxnResponse: ThrottledResponse {}
extension AddPartitionsToTxnResponse: ThrottledResponse {}
extension AlterClientQuotasResponse: ThrottledResponse {}
extension AlterConfigsResponse: ThrottledResponse {}
extension AlterPartitionReassignmentsResponse: ThrottledResponse {}
extension AlterReplicaLogDirsResponse: ThrottledResponse {}
extension AlterShareGroupOffsetsResponse: ThrottledResponse {}
extension AlterUserScramCredentialsResponse: ThrottledResponse {}
extension ApiVersionsResponse: ThrottledResponse {}
extension ConsumerGroupDescribeResponse: ThrottledResponse {}
extension ConsumerGroupHeartbeatResponse: ThrottledResponse {}
extension CreateAclsResponse: ThrottledResponse {}
extension CreatePartitionsResponse: ThrottledResponse {}
extension CreateTopicsResponse: ThrottledResponse {}
extension DeleteAclsResponse: ThrottledResponse {}
extension DeleteGroupsResponse: ThrottledResponse {}
extension DeleteRecordsResponse: ThrottledResponse {}
extension DeleteShareGroupOffsetsResponse: ThrottledResponse {}
extension DeleteTopicsResponse: ThrottledResponse {}
extension DescribeAclsResponse: ThrottledResponse {}
extension DescribeClientQuotasResponse: ThrottledResponse {}
extension DescribeClusterResponse: ThrottledResponse {}
extension DescribeConfigsResponse: ThrottledResponse {}
extension DescribeGroupsResponse: ThrottledResponse {}
extension DescribeLogDirsResponse: ThrottledResponse {}
extension DescribeProducersResponse: ThrottledResponse {}
extension DescribeShareGroupOffsetsResponse: ThrottledResponse {}
extension DescribeTopicPartitionsResponse: ThrottledResponse {}
extension DescribeTransactionsResponse: ThrottledResponse {}
extension DescribeUserScramCredentialsResponse: ThrottledResponse {}
extension ElectLeadersResponse: ThrottledResponse {}
extension EndTxnResponse: ThrottledResponse {}
extension FetchResponse: ThrottledResponse {}
extension FindCoordinatorResponse: ThrottledResponse {}
extension GetTelemetrySubscriptionsResponse: ThrottledResponse {}
extension HeartbeatResponse: ThrottledResponse {}
extension IncrementalAlterConfigsResponse: ThrottledResponse {}
extension InitProducerIdResponse: ThrottledResponse {}
extension JoinGroupResponse: ThrottledResponse {}
extension LeaveGroupResponse: ThrottledResponse {}
extension ListConfigResourcesResponse: ThrottledResponse {}
extension ListGroupsResponse: ThrottledResponse {}
extension ListOffsetsResponse: ThrottledResponse {}
extension ListPartitionReassignmentsResponse: ThrottledResponse {}
extension ListTransactionsResponse: ThrottledResponse {}
extension MetadataResponse: ThrottledResponse {}
extension OffsetCommitResponse: ThrottledResponse {}
extension OffsetDeleteResponse: ThrottledResponse {}
extension OffsetFetchResponse: ThrottledResponse {}
extension OffsetForLeaderEpochResponse: ThrottledResponse {}
extension ProduceResponse: ThrottledResponse {}
extension PushTelemetryResponse: ThrottledResponse {}
extension ShareAcknowledgeResponse: ThrottledResponse {}
extension ShareFetchResponse: ThrottledResponse {}
extension ShareGroupDescribeResponse: ThrottledResponse {}
extension ShareGroupHeartbeatResponse: ThrottledResponse {}
extension SyncGroupResponse: ThrottledResponse {}
extension TxnOffsetCommitResponse: ThrottledResponse {}
extension UpdateFeaturesResponse: ThrottledResponse {}
