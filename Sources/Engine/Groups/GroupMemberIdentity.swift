// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how a request says which member of a group it comes from, or is about.

package struct GroupMemberIdentity: Equatable, Sendable {
    /// Empty in a leave: whoever has the group instance id (an administrator removes a static member).
    package var memberId: String
    package var groupInstanceId: String?
    package var reason: String?

    package init(memberId: String, groupInstanceId: String? = nil, reason: String? = nil) {
        self.memberId = memberId
        self.groupInstanceId = groupInstanceId
        self.reason = reason
    }

    /// A client that manages its partitions itself, or an administrator.
    package static let none = GroupMemberIdentity(memberId: "")
}
