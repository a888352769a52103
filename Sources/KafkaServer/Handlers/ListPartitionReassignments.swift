// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ListPartitionReassignments (key 46).
//
// Versions: 0.
// Behaviour: nothing is ever being moved, so nothing is listed, whatever is asked for.
// Deviations from Kafka: none known; Kafka leaves out topics without reassignments, unknown ones included.

import Engine
import KafkaWire

enum ListPartitionReassignmentsHandler: KafkaHandler {
    static func handle(_ request: ListPartitionReassignmentsRequest, _ exchange: Exchange) {
        exchange.reply(ListPartitionReassignmentsResponse())
    }
}
