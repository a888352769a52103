// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who may write, read and find records.

import Engine
import KafkaWire
import NIOCore

extension ProduceRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<ProduceResponse> {
        if let transactionalId, !rights.mayUse(transaction: transactionalId) {
            guard acks != 0 else { return .closed("a transaction of \(transactionalId) is not allowed") }
            var response = ProduceResponse()
            response.topics = Self.refusals(of: topics, .transactionalIdAuthorizationFailed)
            return .refused(response)
        }
        let denied = rights.takeOut(&topics, .write) { $0.name }
        guard let first = denied.first else { return .granted }
        rights.tell(ProducedTrace.find(in: denied), ofTopic: first.name)
        // Nothing else can tell a client that asks for no reply.
        guard acks != 0 else { return .closed("writing to topic \(first.name) is not allowed") }
        return .amended { $0.topics += Self.refusals(of: denied, .topicAuthorizationFailed) }
    }

    private static func refusals(of topics: [Topic], _ code: KafkaErrorCode) -> [ProduceResponse.Topic] {
        topics.map { topic in
            ProduceResponse.Topic(
                name: topic.name,
                partitions: topic.partitions.map {
                    var partition = ProduceResponse.Partition(index: $0.index, errorCode: code)
                    partition.baseOffset = -1
                    return partition
                })
        }
    }
}

extension FetchRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<FetchResponse> {
        let denied = rights.takeOut(&topics, .read) {
            rights.version >= 13 ? rights.name(ofTopic: $0.topicId) : $0.topic
        }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.topics += denied.map { topic in
                var answer = FetchResponse.Topic()
                answer.topic = topic.topic
                answer.topicId = topic.topicId
                answer.partitions = topic.partitions.map { wanted in
                    var partition = FetchResponse.Partition()
                    partition.partitionIndex = wanted.partition
                    partition.errorCode = .topicAuthorizationFailed
                    partition.highWatermark = -1
                    partition.records = .bytes(ByteBuffer())
                    return partition
                }
                return answer
            }
        }
    }
}

extension ListOffsetsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<ListOffsetsResponse> {
        let denied = rights.takeOut(&topics, .describe) { $0.name }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.topics += denied.map { topic in
                var answer = ListOffsetsResponse.Topic()
                answer.name = topic.name
                answer.partitions = topic.partitions.map {
                    var partition = ListOffsetsResponse.Partition()
                    partition.partitionIndex = $0.partitionIndex
                    partition.errorCode = .topicAuthorizationFailed
                    return partition
                }
                return answer
            }
        }
    }
}

extension DeleteRecordsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DeleteRecordsResponse> {
        let denied = rights.takeOut(&topics, .delete) { $0.name }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.topics += denied.map { topic in
                var answer = DeleteRecordsResponse.Topic()
                answer.name = topic.name
                answer.partitions = topic.partitions.map {
                    var partition = DeleteRecordsResponse.Partition()
                    partition.partitionIndex = $0.partitionIndex
                    partition.lowWatermark = -1
                    partition.errorCode = .topicAuthorizationFailed
                    return partition
                }
                return answer
            }
        }
    }
}

extension OffsetForLeaderEpochRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<OffsetForLeaderEpochResponse> {
        let denied = rights.takeOut(&topics, .describe) { $0.topic }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.topics += denied.map { topic in
                var answer = OffsetForLeaderEpochResponse.Topic()
                answer.topic = topic.topic
                answer.partitions = topic.partitions.map {
                    var partition = OffsetForLeaderEpochResponse.Partition()
                    partition.partition = $0.partition
                    partition.errorCode = .topicAuthorizationFailed
                    return partition
                }
                return answer
            }
        }
    }
}

extension DescribeProducersRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DescribeProducersResponse> {
        let denied = rights.takeOut(&topics, .read) { $0.name }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.topics += denied.map { topic in
                var answer = DescribeProducersResponse.Topic()
                answer.name = topic.name
                answer.partitions = topic.partitionIndexes.map {
                    var partition = DescribeProducersResponse.Partition()
                    partition.partitionIndex = $0
                    partition.errorCode = .topicAuthorizationFailed
                    return partition
                }
                return answer
            }
        }
    }
}
