// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ElectLeaders (key 43).
//
// Versions: 0 to 2.
// Behaviour: the one broker leads everything, so no election is needed: ELECTION_NOT_NEEDED for each partition named,
//   UNKNOWN_TOPIC_OR_PARTITION for those that are not there. Asked about all partitions (null) the answer lists the topics
//   without partitions, because Kafka leaves out partitions that have the leader they should have.
// Deviations from Kafka: none known.
// Notes: 1 adds the election type and the top-level error, 2 is flexible.

import Engine
import KafkaWire

enum ElectLeadersHandler: KafkaHandler {
    /// Kafka's ElectionType: preferred, unclean.
    private static let electionTypes: ClosedRange<Int8> = 0...1

    static func handle(_ request: ElectLeadersRequest, _ exchange: Exchange) {
        var response = ElectLeadersResponse()
        guard electionTypes.contains(request.electionType) else {
            response.errorCode = .invalidRequest
            return exchange.reply(response)
        }
        let topics = exchange.engine.topics
        guard let wanted = request.topicPartitions else {
            response.replicaElectionResults = topics.all.map { answer($0.name, []) }
            return exchange.reply(response)
        }
        let count = wanted.reduce(wanted.count) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        response.replicaElectionResults = wanted.map { each in
            let topic = topics.topic(named: each.topic)
            return answer(each.topic, each.partitions.map { result($0, each.topic, topic) })
        }
        exchange.reply(response)
    }

    private static func answer(
        _ topic: String, _ partitions: [ElectLeadersResponse.Partition]
    ) -> ElectLeadersResponse.Topic {
        var answer = ElectLeadersResponse.Topic()
        answer.topic = topic
        answer.partitionResult = partitions
        return answer
    }

    private static func result(_ index: Int32, _ name: String, _ topic: Topic?) -> ElectLeadersResponse.Partition {
        var result = ElectLeadersResponse.Partition()
        result.partitionId = index
        if topic == nil {
            (result.errorCode, result.errorMessage) = (.unknownTopicOrPartition, "No such topic as \(name)")
        } else if topic?.partition(index) == nil {
            (result.errorCode, result.errorMessage) = (.unknownTopicOrPartition, "No such partition as \(name)-\(index)")
        } else {
            (result.errorCode, result.errorMessage) = (
                .electionNotNeeded, "Leader election not needed for topic partition."
            )
        }
        return result
    }
}
