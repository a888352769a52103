// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: SyncGroup (key 14).
//
// Versions: 0 to 5.
// Behaviour: parks the request until the leader has synced, then answers with the member's own assignment.
// Deviations from Kafka: a sync that a later one of the same member supersedes gets REBALANCE_IN_PROGRESS, one of a
//   member that leaves gets UNKNOWN_MEMBER_ID; Kafka never answers them.
// Notes: 1 adds the throttle time, 3 static members (KIP-345); 5 wants protocol type and name, and they must be the
//   group's (KIP-559).

import Engine
import KafkaWire

enum SyncGroupHandler: KafkaHandler {
    static func handle(_ request: SyncGroupRequest, _ exchange: Exchange) {
        if exchange.version >= 5, request.protocolType == nil || request.protocolName == nil {
            var refusal = SyncGroupResponse()
            refusal.errorCode = .inconsistentGroupProtocol
            return exchange.reply(refusal)
        }
        let sync = GroupSyncRequest(
            groupId: request.groupId, memberId: request.memberId, groupInstanceId: request.groupInstanceId,
            generationId: request.generationId, protocolType: request.protocolType,
            protocolName: request.protocolName,
            assignments: request.assignments.map { .init(memberId: $0.memberId, assignment: $0.assignment) })
        exchange.engine.groups.sync(sync, on: exchange.loop) { answer in
            var response = SyncGroupResponse()
            response.errorCode = KafkaErrorCode(answer.error)
            response.protocolType = answer.protocolType
            response.protocolName = answer.protocolName
            response.assignment = answer.assignment
            exchange.reply(response)
        }
    }
}
