// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeGroups (key 15).
//
// Versions: 0 to 6.
// Behaviour: state, protocol and members of each group; a stable group's members with metadata and assignment.
// Deviations from Kafka: a group named twice is described once.
// Notes: 1 adds the throttle time, 3 authorised operations (KIP-430), 4 static members (KIP-345), 6 error messages; a
//   group that is not there, or no classic one, has state Dead, and since 6 the error GROUP_ID_NOT_FOUND (KIP-1043).

import Engine
import KafkaWire

enum DescribeGroupsHandler: KafkaHandler {
    static func handle(_ request: DescribeGroupsRequest, _ exchange: Exchange) {
        var seen: Set<String> = []
        let groupIds = request.groups.filter { seen.insert($0).inserted }
        guard exchange.admits(groupIds.count, "groups", limit: 10 * Limits.groupsPerRequest) else { return }
        var response = DescribeGroupsResponse()
        if groupIds.count > Limits.groupsPerRequest {
            response.groups = groupIds.map { refusal($0, .invalidRequest) }
            return exchange.reply(response)
        }
        do throws(GroupError) {
            response.groups = try exchange.engine.groups.describe(groupIds).map { group in
                var answer = describe(group, version: exchange.version)
                if request.includeAuthorizedOperations && answer.errorCode == .none {
                    answer.authorizedOperations = AuthorizedOperations.group
                }
                return answer
            }
        } catch {
            response.groups = groupIds.map { refusal($0, KafkaErrorCode(error)) }
        }
        exchange.reply(response)
    }

    private static func describe(
        _ group: GroupDescription, version: Int16
    ) -> DescribeGroupsResponse.Group {
        var answer = DescribeGroupsResponse.Group()
        answer.groupId = group.groupId
        answer.groupState = group.state.rawValue
        answer.protocolType = group.protocolType
        answer.protocolData = group.protocolName
        if group.state == .dead && version >= 6 {
            answer.errorCode = .groupIdNotFound
            answer.errorMessage = group.refusal
        }
        answer.members = group.members.map { member in
            var each = DescribeGroupsResponse.Member()
            each.memberId = member.memberId
            each.groupInstanceId = member.groupInstanceId
            each.clientId = member.clientId
            each.clientHost = member.clientHost
            each.memberMetadata = member.metadata
            each.memberAssignment = member.assignment
            return each
        }
        return answer
    }

    private static func refusal(_ groupId: String, _ code: KafkaErrorCode) -> DescribeGroupsResponse.Group {
        var refusal = DescribeGroupsResponse.Group()
        refusal.groupId = groupId
        refusal.errorCode = code
        return refusal
    }
}
