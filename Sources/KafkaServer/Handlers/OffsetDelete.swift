// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: OffsetDelete (key 47).
//
// Versions: 0 (KIP-496).
// Behaviour: the group forgets its positions in some partitions; the reply goes when that is durable. Topics that its
//   members consume get GROUP_SUBSCRIBED_TO_TOPIC, unknown partitions UNKNOWN_TOPIC_OR_PARTITION; what is wrong with the
//   group is the response's error, without topics.
// Deviations from Kafka: none known.
// Notes: none.

import Engine
import KafkaWire

enum OffsetDeleteHandler: KafkaHandler {
    static func handle(_ request: OffsetDeleteRequest, _ exchange: Exchange) {
        let known = request.topics.map { topic in
            let target = exchange.engine.topics.topic(named: topic.name)
            return TopicPartitions(
                topic: topic.name,
                partitions: topic.partitions.map(\.partitionIndex).filter { target?.partition($0) != nil })
        }
        exchange.engine.groups.deleteOffsets(groupId: request.groupId, topics: known, on: exchange.loop) { result in
            var response = OffsetDeleteResponse()
            switch result {
            case .failure(let error):
                response.errorCode = KafkaErrorCode(error)
            case .success(let errors):
                response.topics = request.topics.indices.map {
                    answer(request.topics[$0], known: Set(known[$0].partitions), KafkaErrorCode(errors[$0]))
                }
            }
            exchange.reply(response)
        }
    }

    private static func answer(
        _ topic: OffsetDeleteRequest.Topic, known: Set<Int32>, _ code: KafkaErrorCode
    ) -> OffsetDeleteResponse.Topic {
        var answer = OffsetDeleteResponse.Topic()
        answer.name = topic.name
        answer.partitions = topic.partitions.map { partition in
            var each = OffsetDeleteResponse.Partition()
            each.partitionIndex = partition.partitionIndex
            each.errorCode = known.contains(partition.partitionIndex) ? code : .unknownTopicOrPartition
            return each
        }
        return answer
    }
}
