// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: Heartbeat (key 12).
//
// Versions: 0 to 4.
// Behaviour: keeps the member in its group; REBALANCE_IN_PROGRESS asks it to join again.
// Deviations from Kafka: none known.
// Notes: 1 adds the throttle time, 3 static members (KIP-345).

import Engine
import KafkaWire

enum HeartbeatHandler: KafkaHandler {
    static func handle(_ request: HeartbeatRequest, _ exchange: Exchange) {
        var response = HeartbeatResponse()
        let member = GroupMemberIdentity(
            memberId: request.memberId, groupInstanceId: request.groupInstanceId)
        do throws(GroupError) {
            try exchange.engine.groups.heartbeat(
                groupId: request.groupId, member, generationId: request.generationId)
        } catch {
            response.errorCode = KafkaErrorCode(error)
        }
        exchange.reply(response)
    }
}
