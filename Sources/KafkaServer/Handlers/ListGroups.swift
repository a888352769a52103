// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ListGroups (key 16).
//
// Versions: 0 to 5.
// Behaviour: all groups, sorted by id, or those of some states (4, KIP-518) and types (5, KIP-848); case is ignored.
//   Groups that only hold offsets are listed with an empty protocol type.
// Deviations from Kafka: none known.
// Notes: 1 adds the throttle time.

import Engine
import KafkaWire

enum ListGroupsHandler: KafkaHandler {
    static func handle(_ request: ListGroupsRequest, _ exchange: Exchange) {
        var response = ListGroupsResponse()
        do throws(GroupError) {
            let found = try exchange.engine.groups.list(
                states: request.statesFilter, types: request.typesFilter)
            response.groups = found.map { group in
                var answer = ListGroupsResponse.Group()
                answer.groupId = group.groupId
                answer.protocolType = group.protocolType
                answer.groupState = group.state
                answer.groupType = group.type.rawValue
                return answer
            }
            response.groups += ShareGroupListing.groups(
                exchange.engine.shares, states: request.statesFilter, types: request.typesFilter)
        } catch {
            response.errorCode = KafkaErrorCode(error)
        }
        exchange.reply(response)
    }
}
