// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what the assignors of consumer groups share: their input, and which there are.
//
// An assignor is a pure function of members and topics. Every partition of a topic that has a subscriber is given to
// exactly one subscriber of it. The result does not depend on the order of a hash table.

import Bytes

/// What the broker can assign by (`group.consumer.assignors`).
package enum Assignor: String, CaseIterable, Sendable {
    case uniform
    case range

    func assign(_ input: AssignorInput) -> [String: TopicAssignment] {
        switch self {
        case .uniform: UniformAssignor.assign(input)
        case .range: RangeAssignor.assign(input)
        }
    }
}

struct AssignorInput: Sendable {
    struct Member: Sendable {
        var id: String
        var instanceId: String?
        /// Only topics of `AssignorInput.topics`.
        var topics: Set<TopicId>
        /// What it was to have until now.
        var assigned = TopicAssignment()
    }

    var members: [Member]
    /// Topic → how many partitions it has.
    var topics: [TopicId: Int32]

    /// Whether everybody wants the same.
    var isHomogeneous: Bool {
        guard let first = members.first else { return true }
        return members.allSatisfy { $0.topics == first.topics }
    }

    /// Topics with a subscriber, in a fixed order.
    var subscribedTopics: [TopicId] {
        var all: Set<TopicId> = []
        for member in members { all.formUnion(member.topics) }
        return all.filter { topics[$0] != nil }.sorted { $0.isBefore($1) }
    }
}
