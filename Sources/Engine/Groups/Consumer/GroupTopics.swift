// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the topics that there are, as far as consumer groups need to know.
//
// A copy of the catalog's table that the group coordinator keeps under its own lock, so that no other lock is taken
// under that. The catalog tells of every change of a topic while the topic's name is reserved, so in order.

import Bytes

package struct GroupTopic: Equatable, Sendable {
    package var name: String
    package var id: TopicId
    package var partitions: Int32

    package init(name: String, id: TopicId, partitions: Int32) {
        self.name = name
        self.id = id
        self.partitions = partitions
    }
}

/// What happened to a topic.
package enum TopicChange: Sendable {
    /// It is new, or has more partitions.
    case present(GroupTopic)
    case deleted(name: String, id: TopicId)
}

struct GroupTopics: Sendable {
    private(set) var byName: [String: GroupTopic] = [:]
    private var names: [TopicId: String] = [:]
    /// Rises with every change.
    private(set) var version: Int64 = 0

    func name(of id: TopicId) -> String? { names[id] }

    func topic(id: TopicId) -> GroupTopic? { names[id].flatMap { byName[$0] } }

    mutating func apply(_ change: TopicChange) {
        version += 1
        switch change {
        case .present(let topic):
            byName[topic.name] = topic
            names[topic.id] = topic.name
        case .deleted(let name, let id):
            if byName[name]?.id == id { byName[name] = nil }
            names[id] = nil
        }
    }
}
