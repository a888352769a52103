// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a group's state machine wants done after an input.

package enum GroupAction: Equatable, Sendable {
    /// Answer a join; each token is answered exactly once.
    case answerJoin(GroupToken, GroupJoinResponse)
    /// Answer a sync; each token is answered exactly once.
    case answerSync(GroupToken, GroupSyncResponse)
    /// Something that an operator may want to read.
    case report(GroupEvent)
}

/// What happened to a group.
package enum GroupEvent: Equatable, Sendable {
    case rebalanceStarted(generationId: Int32, reason: String)
    case joinCompleted(generationId: Int32, members: Int, leaderId: String, protocolName: String)
    case stabilized(generationId: Int32, members: Int)
    /// Of a consumer group: its assignment is due anew.
    case epochRaised(Int32, members: Int)
    case becameEmpty(generationId: Int32)
    case membersRemoved([String], cause: String)
}
