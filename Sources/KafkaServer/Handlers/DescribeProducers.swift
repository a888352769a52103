// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeProducers (key 61, KIP-664).
//
// Versions: 0.
// Behaviour: the producers that a partition remembers, with where their open transactions start. A name that no topic
//   can have is INVALID_TOPIC_EXCEPTION.
// Deviations from Kafka: none known.

import Engine
import KafkaWire

enum DescribeProducersHandler: KafkaHandler {
    static func handle(_ request: DescribeProducersRequest, _ exchange: Exchange) {
        var response = DescribeProducersResponse()
        response.topics = request.topics.map { wanted in
            let topic = exchange.engine.topics.topic(named: wanted.name)
            var answer = DescribeProducersResponse.Topic()
            answer.name = wanted.name
            answer.partitions = wanted.partitionIndexes.map { index in
                guard let problem = topicNameProblem(wanted.name) else { return describe(index, of: topic) }
                var refused = DescribeProducersResponse.Partition()
                refused.partitionIndex = index
                refused.errorCode = .invalidTopicException
                refused.errorMessage = problem
                return refused
            }
            return answer
        }
        exchange.reply(response)
    }

    private static func describe(
        _ index: Int32, of topic: Topic?
    ) -> DescribeProducersResponse.Partition {
        var answer = DescribeProducersResponse.Partition()
        answer.partitionIndex = index
        guard let partition = topic?.partition(index) else {
            answer.errorCode = .unknownTopicOrPartition
            return answer
        }
        do throws(EngineError) {
            answer.activeProducers = try partition.activeProducers().map { id, known in
                var producer = DescribeProducersResponse.ProducerState()
                producer.producerId = id
                producer.producerEpoch = Int32(known.epoch)
                producer.lastSequence = known.lastSequence
                producer.lastTimestamp = known.lastTimestampMs
                producer.coordinatorEpoch = known.coordinatorEpoch
                producer.currentTxnStartOffset = known.transactionStart
                return producer
            }
        } catch {
            answer.errorCode = KafkaErrorCode(error)
            answer.errorMessage = error.message
        }
        return answer
    }
}
