// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: JoinGroup (key 11).
//
// Versions: 0 to 9.
// Behaviour: parks the request until the group's join phase ends (see ClassicGroup); the leader is told all members.
//   A new dynamic member gets MEMBER_ID_REQUIRED with its id first (version 4, KIP-394); a static member that lost its
//   id takes its old place (version 5, KIP-345), as a leader that does not assign since version 9 (KIP-814).
// Deviations from Kafka: a join that a later one of the same member supersedes gets REBALANCE_IN_PROGRESS, Kafka
//   never answers it.
// Notes: 0 has no rebalance timeout, the session timeout counts; 2 adds the throttle time, 7 the protocol type and a
//   protocol name that may be null, 8 a reason (KIP-800). 0 and 1 are sent by librdkafka < 2.11 with Kerberos
//   (KAFKA-19444).

import Engine
import KafkaWire
import Transport

enum JoinGroupHandler: KafkaHandler {
    static func handle(_ request: JoinGroupRequest, _ exchange: Exchange) {
        let version = exchange.version
        let join = GroupJoinRequest(
            groupId: request.groupId, memberId: request.memberId, groupInstanceId: request.groupInstanceId,
            clientId: exchange.connection.clientId ?? "", clientHost: "/\(exchange.connection.peer.remoteAddress)",
            sessionTimeoutMs: request.sessionTimeoutMs,
            rebalanceTimeoutMs: version == 0 ? request.sessionTimeoutMs : request.rebalanceTimeoutMs,
            protocolType: request.protocolType,
            protocols: request.protocols.map { GroupProtocol(name: $0.name, metadata: $0.metadata) },
            requiresKnownMemberId: version >= 4, supportsSkippingAssignment: version >= 9, reason: request.reason)
        exchange.engine.groups.join(join, on: exchange.loop) { answer in
            exchange.reply(response(answer, version: version))
        }
    }

    private static func response(_ answer: GroupJoinResponse, version: Int16) -> JoinGroupResponse {
        var response = JoinGroupResponse()
        response.errorCode = KafkaErrorCode(answer.error)
        response.generationId = answer.generationId
        response.protocolType = answer.protocolType
        response.protocolName = version >= 7 ? answer.protocolName : answer.protocolName ?? ""
        response.leader = answer.leaderId
        response.skipAssignment = answer.skipAssignment
        response.memberId = answer.memberId
        response.members = answer.members.map { member in
            var each = JoinGroupResponse.Member()
            each.memberId = member.memberId
            each.groupInstanceId = member.groupInstanceId
            each.metadata = member.metadata
            return each
        }
        return response
    }
}
