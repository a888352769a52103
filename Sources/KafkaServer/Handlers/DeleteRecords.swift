// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DeleteRecords (key 21).
//
// Versions: 0 to 2.
// Behaviour: the start of each partition moves up to the offset given, or to its end for -1; the answer is the new
//   start. Segments that lie wholly below it are removed. A topic that only compacts refuses it (POLICY_VIOLATION), and an
//   internal one too (INVALID_TOPIC_EXCEPTION).
// Deviations from Kafka: none known.

import Engine
import KafkaWire
import Storage

enum DeleteRecordsHandler: KafkaHandler {
    static func handle(_ request: DeleteRecordsRequest, _ exchange: Exchange) {
        let count = request.topics.reduce(0) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        var response = DeleteRecordsResponse()
        response.topics = request.topics.map { wanted in
            let topic = exchange.engine.topics.topic(named: wanted.name)
            var answer = DeleteRecordsResponse.Topic()
            answer.name = wanted.name
            answer.partitions = wanted.partitions.map { delete($0, of: topic) }
            return answer
        }
        exchange.reply(response)
    }

    private static func delete(
        _ wanted: DeleteRecordsRequest.Partition, of topic: Topic?
    ) -> DeleteRecordsResponse.Partition {
        var answer = DeleteRecordsResponse.Partition()
        answer.partitionIndex = wanted.partitionIndex
        answer.lowWatermark = -1
        guard let topic, let partition = topic.partition(wanted.partitionIndex) else {
            answer.errorCode = .unknownTopicOrPartition
            return answer
        }
        guard !topic.isInternal else {
            answer.errorCode = .invalidTopicException
            return answer
        }
        guard topic.configuration.log.deletes else {
            answer.errorCode = .policyViolation
            return answer
        }
        do {
            answer.lowWatermark = try partition.deleteRecords(before: wanted.offset)
        } catch {
            answer.errorCode = KafkaErrorCode(error)
        }
        return answer
    }
}
