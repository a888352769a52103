// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AlterShareGroupOffsets (key 91).
//
// Versions: 0.
// Behaviour: a group without members begins the partitions that are named at the given offsets; what was known of their records is
//   forgotten. A group that is not there is made. Answered when durable.
// Deviations from Kafka: none known.

import Bytes
import Engine
import KafkaWire
import NIOCore

enum AlterShareGroupOffsetsHandler: KafkaHandler {
    static func handle(_ request: AlterShareGroupOffsetsRequest, _ exchange: Exchange) {
        let count = request.topics.reduce(0) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        let shares = exchange.engine.shares
        var response = AlterShareGroupOffsetsResponse()
        do throws(ShareError) {
            try shares.checkEmpty(request.groupId, creating: true)
        } catch {
            response.errorCode = KafkaErrorCode(error)
            response.errorMessage = error.description
            return exchange.reply(response)
        }
        response.responses = request.topics.map { wanted in
            var topic = AlterShareGroupOffsetsResponse.Topic()
            topic.topicName = wanted.topicName
            topic.topicId = exchange.engine.topics.topic(named: wanted.topicName)?.id ?? .zero
            topic.partitions = wanted.partitions.map { partition in
                var answer = AlterShareGroupOffsetsResponse.Partition()
                answer.partitionIndex = partition.partitionIndex
                return answer
            }
            return topic
        }
        guard count > 0 else { return exchange.reply(response) }
        let pending = NIOLoopBoundBox((response: response, missing: count), eventLoop: exchange.loop)
        for (at, topic) in request.topics.enumerated() {
            for (index, partition) in topic.partitions.enumerated() {
                let finish: @Sendable (ShareError?) -> Void = { error in
                    pending.value.response.responses[at].partitions[index].errorCode = KafkaErrorCode(error)
                    pending.value.response.responses[at].partitions[index].errorMessage = error?.description
                    pending.value.missing -= 1
                    if pending.value.missing == 0 { exchange.reply(pending.value.response) }
                }
                guard let found = exchange.engine.topics.topic(named: topic.topicName),
                    found.partition(partition.partitionIndex) != nil
                else {
                    finish(.unknownTopicOrPartition)
                    continue
                }
                guard partition.startOffset >= 0 else {
                    finish(.invalidRequest)
                    continue
                }
                shares.alterOffset(
                    request.groupId, SharePlace(topicId: found.id, partition: partition.partitionIndex),
                    to: partition.startOffset, on: exchange.loop, completion: finish)
            }
        }
    }
}
