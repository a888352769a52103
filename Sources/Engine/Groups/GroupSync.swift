// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how a member asks for its assignment (and the leader brings everyone's).

import NIOCore

package struct GroupSyncRequest: Sendable {
    package struct Assignment: Sendable {
        package var memberId: String
        package var assignment: ByteBuffer

        package init(memberId: String, assignment: ByteBuffer) {
            self.memberId = memberId
            self.assignment = assignment
        }
    }

    package var groupId: String
    package var memberId: String
    package var groupInstanceId: String?
    package var generationId: Int32
    /// nil where the request has none (before v5).
    package var protocolType: String?
    package var protocolName: String?
    /// Empty from a follower.
    package var assignments: [Assignment]

    package init(
        groupId: String, memberId: String, groupInstanceId: String? = nil, generationId: Int32,
        protocolType: String? = nil, protocolName: String? = nil, assignments: [Assignment] = []
    ) {
        self.groupId = groupId
        self.memberId = memberId
        self.groupInstanceId = groupInstanceId
        self.generationId = generationId
        self.protocolType = protocolType
        self.protocolName = protocolName
        self.assignments = assignments
    }
}

package struct GroupSyncResponse: Equatable, Sendable {
    package var error: GroupError?
    package var protocolType: String?
    package var protocolName: String?
    package var assignment = ByteBuffer()

    package init(error: GroupError) {
        self.error = error
    }

    package init(protocolType: String?, protocolName: String?, assignment: ByteBuffer) {
        self.protocolType = protocolType
        self.protocolName = protocolName
        self.assignment = assignment
    }
}
