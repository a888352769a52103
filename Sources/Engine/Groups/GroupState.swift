// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the states of a classic consumer group, under the names that Kafka's tools print.

package enum GroupState: String, Sendable, CaseIterable {
    /// No members; lives on while it has committed offsets.
    case empty = "Empty"
    /// Members are asked to join (again); their joins are parked.
    case preparingRebalance = "PreparingRebalance"
    /// The leader has the list of members and is asked for assignments; followers' syncs are parked.
    case completingRebalance = "CompletingRebalance"
    /// Every member has, or can ask for, its assignment.
    case stable = "Stable"
    /// Not there (any more).
    case dead = "Dead"

    /// Whether a group may go from this state to `next`.
    func allows(_ next: GroupState) -> Bool {
        switch next {
        case .empty, .completingRebalance: self == .preparingRebalance
        case .preparingRebalance: self == .stable || self == .completingRebalance || self == .empty
        case .stable: self == .completingRebalance
        case .dead: true
        }
    }
}
