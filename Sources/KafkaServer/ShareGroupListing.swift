// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: share groups among all groups: in the answer of ListGroups, and in a DeleteGroups request.

import Engine
import KafkaWire
import NIOCore

enum ShareGroupListing {
    /// Those of some states and types; empty filters take all, case is ignored.
    static func groups(
        _ shares: ShareCoordinator, states: [String], types: [String]
    ) -> [ListGroupsResponse.Group] {
        guard types.isEmpty || types.contains(where: { $0.lowercased() == "share" }) else { return [] }
        let states = Set(states.map { $0.lowercased() })
        return shares.list().filter { states.isEmpty || states.contains($0.state.rawValue.lowercased()) }.map { found in
            var group = ListGroupsResponse.Group()
            group.groupId = found.groupId
            group.protocolType = "share"
            group.groupState = found.state.rawValue
            group.groupType = "share"
            return group
        }
    }

    /// Deletes those that are share groups; `completion` runs when that is durable, with what became of each.
    static func delete(
        _ groupIds: [String], _ exchange: Exchange, completion: @escaping @Sendable ([String: KafkaErrorCode]) -> Void
    ) {
        let shares = exchange.engine.shares
        let mine = groupIds.filter { shares.contains($0) }
        guard !mine.isEmpty else { return completion([:]) }
        let codes = NIOLoopBoundBox([String: KafkaErrorCode](), eventLoop: exchange.loop)
        for groupId in mine {
            shares.forget(groupId, topicId: nil, on: exchange.loop) { error in
                codes.value[groupId] = KafkaErrorCode(error)
                if codes.value.count == mine.count { completion(codes.value) }
            }
        }
    }
}
