// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AlterPartitionReassignments (key 45).
//
// Versions: 0.
// Behaviour: there is one broker, so a partition can only be "moved" to where it is, which succeeds and does nothing. Any
//   other target is INVALID_REPLICA_ASSIGNMENT; cancelling (null) is NO_REASSIGNMENT_IN_PROGRESS.
// Deviations from Kafka: none known.

import Engine
import KafkaWire

enum AlterPartitionReassignmentsHandler: KafkaHandler {
    static func handle(_ request: AlterPartitionReassignmentsRequest, _ exchange: Exchange) {
        let count = request.topics.reduce(request.topics.count) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        var response = AlterPartitionReassignmentsResponse()
        response.responses = request.topics.map { wanted in
            let topic = exchange.engine.topics.topic(named: wanted.name)
            var answer = AlterPartitionReassignmentsResponse.Topic()
            answer.name = wanted.name
            answer.partitions = wanted.partitions.map { partition in
                var each = AlterPartitionReassignmentsResponse.Partition()
                each.partitionIndex = partition.partitionIndex
                if let refusal = refusal(partition, wanted.name, topic, node: exchange.engine.configuration.nodeId) {
                    (each.errorCode, each.errorMessage) = refusal
                }
                return each
            }
            return answer
        }
        exchange.reply(response)
    }

    private static func refusal(
        _ wanted: AlterPartitionReassignmentsRequest.Partition, _ name: String, _ topic: Topic?, node: Int32
    ) -> (KafkaErrorCode, String?)? {
        guard let topic else { return (.unknownTopicOrPartition, "Unable to find a topic named \(name).") }
        guard topic.partition(wanted.partitionIndex) != nil else {
            return (.unknownTopicOrPartition, "Unable to find partition \(name):\(wanted.partitionIndex).")
        }
        guard let replicas = wanted.replicas else { return (.noReassignmentInProgress, nil) }
        if replicas == [node] { return nil }
        let message =
            if replicas.isEmpty {
                "The manual partition assignment includes an empty replica list."
            } else if let stranger = replicas.sorted().first(where: { $0 != node }) {
                "The manual partition assignment includes broker \(stranger), but no such broker is registered."
            } else {
                "The manual partition assignment includes the broker \(node) more than once."
            }
        return (.invalidReplicaAssignment, message)
    }
}
