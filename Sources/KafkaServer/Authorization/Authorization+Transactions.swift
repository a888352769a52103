// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who may be a producer, and which transactions somebody may run and see.

import Engine
import KafkaWire

extension InitProducerIdRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<InitProducerIdResponse> {
        var response = InitProducerIdResponse()
        if let transactionalId {
            response.errorCode = .transactionalIdAuthorizationFailed
            return .when(rights.mayUse(transaction: transactionalId)) { response }
        }
        // Whoever may write to some topic may do so once only (KIP-679).
        response.errorCode = .clusterAuthorizationFailed
        let isAllowed = rights.mayUseSomeTopic(.write) || rights.mayUseCluster(.idempotentWrite)
        return .when(isAllowed) { response }
    }
}

extension AddPartitionsToTxnRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<AddPartitionsToTxnResponse> {
        var response = AddPartitionsToTxnResponse()
        guard rights.version <= 3 else {
            // Only brokers send it in one request for many.
            response.errorCode = .clusterAuthorizationFailed
            return .when(rights.mayUseCluster(.clusterAction)) { response }
        }
        let isAllowed = rights.mayUse(transaction: v3AndBelowTransactionalId)
        let denied = Set(v3AndBelowTopics.map(\.name).filter { isAllowed && !rights.mayUse(topic: $0, .write) })
        return .when(isAllowed && denied.isEmpty) {
            response.resultsByTopicV3AndBelow = v3AndBelowTopics.map { topic in
                var result = AddPartitionsToTxnResponse.TopicResult()
                result.name = topic.name
                result.resultsByPartition = topic.partitions.map {
                    var partition = AddPartitionsToTxnResponse.PartitionResult()
                    partition.partitionIndex = $0
                    partition.partitionErrorCode =
                        !isAllowed
                        ? .transactionalIdAuthorizationFailed
                        : denied.contains(topic.name) ? .topicAuthorizationFailed : .operationNotAttempted
                    return partition
                }
                return result
            }
            return response
        }
    }
}

extension AddOffsetsToTxnRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<AddOffsetsToTxnResponse> {
        var response = AddOffsetsToTxnResponse()
        guard rights.mayUse(transaction: transactionalId) else {
            response.errorCode = .transactionalIdAuthorizationFailed
            return .refused(response)
        }
        response.errorCode = .groupAuthorizationFailed
        return .when(rights.mayUse(group: groupId, .read)) { response }
    }
}

extension TxnOffsetCommitRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<TxnOffsetCommitResponse> {
        if !rights.mayUse(transaction: transactionalId) { return refuse(.transactionalIdAuthorizationFailed) }
        if !rights.mayUse(group: groupId, .read) { return refuse(.groupAuthorizationFailed) }
        let denied = rights.takeOut(&topics, .read) { $0.name }
        return denied.isEmpty
            ? .granted : .amended { $0.topics += Self.refusals(of: denied, .topicAuthorizationFailed) }
    }

    private func refuse(_ code: KafkaErrorCode) -> Authorization<TxnOffsetCommitResponse> {
        var response = TxnOffsetCommitResponse()
        response.topics = Self.refusals(of: topics, code)
        return .refused(response)
    }

    private static func refusals(of topics: [Topic], _ code: KafkaErrorCode) -> [TxnOffsetCommitResponse.Topic] {
        topics.map { topic in
            var answer = TxnOffsetCommitResponse.Topic()
            answer.name = topic.name
            answer.partitions = topic.partitions.map {
                var partition = TxnOffsetCommitResponse.Partition()
                partition.partitionIndex = $0.partitionIndex
                partition.errorCode = code
                return partition
            }
            return answer
        }
    }
}

extension EndTxnRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<EndTxnResponse> {
        .when(rights.mayUse(transaction: transactionalId)) {
            var response = EndTxnResponse()
            response.errorCode = .transactionalIdAuthorizationFailed
            return response
        }
    }
}

extension WriteTxnMarkersRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<WriteTxnMarkersResponse> {
        // An administrator aborts a hanging transaction with it (KIP-1037).
        .when(rights.maySee(.alter, .cluster, AccessRule.clusterName) || rights.mayUseCluster(.clusterAction)) {
            var response = WriteTxnMarkersResponse()
            response.markers = markers.map { wanted in
                var marker = WriteTxnMarkersResponse.Marker()
                marker.producerId = wanted.producerId
                marker.topics = wanted.topics.map { topic in
                    var answer = WriteTxnMarkersResponse.Topic()
                    answer.name = topic.name
                    answer.partitions = topic.partitionIndexes.map {
                        var partition = WriteTxnMarkersResponse.Partition()
                        partition.partitionIndex = $0
                        partition.errorCode = .clusterAuthorizationFailed
                        return partition
                    }
                    return answer
                }
                return marker
            }
            return response
        }
    }
}

extension DescribeTransactionsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DescribeTransactionsResponse> {
        let denied = rights.takeOut(&transactionalIds, .describe, of: .transactionalId) { $0 }
        return .amended { response in
            for index in response.transactionStates.indices {
                response.transactionStates[index].topics.removeAll { !rights.maySee(.describe, .topic, $0.topic) }
            }
            response.transactionStates += denied.map { id in
                var state = DescribeTransactionsResponse.TransactionState()
                state.transactionalId = id
                state.errorCode = .transactionalIdAuthorizationFailed
                return state
            }
        }
    }
}

extension ListTransactionsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ListTransactionsResponse> {
        .amended { $0.transactionStates.removeAll { !rights.maySee(.describe, .transactionalId, $0.transactionalId) } }
    }
}
