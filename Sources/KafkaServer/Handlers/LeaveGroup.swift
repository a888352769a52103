// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: LeaveGroup (key 13).
//
// Versions: 0 to 5.
// Behaviour: members leave; the others join again. A static member can be removed by its instance id alone.
// Deviations from Kafka: a member that only got its id (MEMBER_ID_REQUIRED) leaves without a rebalance.
// Notes: up to 2 one member, whose error is the response's; since 3 several, each with its own (KIP-345); 5 adds a
//   reason (KIP-800).

import Engine
import KafkaWire

enum LeaveGroupHandler: KafkaHandler {
    static func handle(_ request: LeaveGroupRequest, _ exchange: Exchange) {
        let members =
            exchange.version <= 2
            ? [GroupMemberIdentity(memberId: request.memberId)]
            : request.members.map {
                GroupMemberIdentity(
                    memberId: $0.memberId, groupInstanceId: $0.groupInstanceId, reason: $0.reason)
            }
        guard exchange.admits(members.count, "members", limit: 10 * Limits.groupsPerRequest) else { return }
        exchange.engine.groups.leave(groupId: request.groupId, members, on: exchange.loop) { result in
            var response = LeaveGroupResponse()
            switch result {
            case .success(let results) where exchange.version <= 2:
                response.errorCode = KafkaErrorCode(results.first ?? nil)
            case .success(let results):
                response.members = zip(members, results).map(answer)
            case .failure(let error):
                response.errorCode = KafkaErrorCode(error)
            }
            exchange.reply(response)
        }
    }

    private static func answer(
        _ member: GroupMemberIdentity, _ error: GroupError?
    ) -> LeaveGroupResponse.Member {
        var answer = LeaveGroupResponse.Member()
        answer.memberId = member.memberId
        answer.groupInstanceId = member.groupInstanceId
        answer.errorCode = KafkaErrorCode(error)
        return answer
    }
}
