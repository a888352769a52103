// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: share groups in the answer of ListGroups.

import Engine
import KafkaWire

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
}
