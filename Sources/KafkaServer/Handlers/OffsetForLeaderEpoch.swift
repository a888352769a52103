// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: OffsetForLeaderEpoch (key 23).
//
// Versions: 2 to 4.
// Behaviour: every record was written in leader epoch 0, the only one there is, so epoch 0 ends at the high
//   watermark; a later one is unknown (-1/-1), as is anything before it.
// Deviations from Kafka: none known.

import Engine
import KafkaWire

enum OffsetForLeaderEpochHandler: KafkaHandler {
    static func handle(_ request: OffsetForLeaderEpochRequest, _ exchange: Exchange) {
        let count = request.topics.reduce(0) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        var response = OffsetForLeaderEpochResponse()
        response.topics = request.topics.map { wanted in
            let topic = exchange.engine.topics.topic(named: wanted.topic)
            var answer = OffsetForLeaderEpochResponse.Topic()
            answer.topic = wanted.topic
            answer.partitions = wanted.partitions.map { find($0, in: topic) }
            return answer
        }
        exchange.reply(response)
    }

    private static func find(
        _ wanted: OffsetForLeaderEpochRequest.Partition, in topic: Topic?
    ) -> OffsetForLeaderEpochResponse.Partition {
        var answer = OffsetForLeaderEpochResponse.Partition()
        answer.partition = wanted.partition
        guard let partition = topic?.partition(wanted.partition) else {
            answer.errorCode = .unknownTopicOrPartition
            return answer
        }
        guard wanted.currentLeaderEpoch <= 0 else {
            answer.errorCode = .unknownLeaderEpoch
            return answer
        }
        if wanted.leaderEpoch == 0 {
            answer.leaderEpoch = 0
            answer.endOffset = partition.offsets.highWatermark
        }
        return answer
    }
}
