// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one topic: its identity, partitions and configuration.
//
// Identity never changes; partitions (they only grow) and configuration are replaced whole, under a lock of the
// topic. Whoever holds a `Topic` that was deleted keeps a closed one: its partitions refuse everything.

import Bytes
import Synchronization

package final class Topic: Sendable {
    package let name: String
    package let id: TopicId
    /// Kept by the broker for itself (`__consumer_offsets`): readable, not writable by clients.
    package let isInternal: Bool
    private let state: Mutex<State>

    private struct State: Sendable {
        var partitions: [Partition]
        var configuration: TopicConfiguration
    }

    init(
        name: String, id: TopicId, isInternal: Bool, partitions: [Partition], configuration: TopicConfiguration
    ) {
        self.name = name
        self.id = id
        self.isInternal = isInternal
        state = Mutex(State(partitions: partitions, configuration: configuration))
    }

    package var partitions: [Partition] { state.withLock { $0.partitions } }
    package var partitionCount: Int { state.withLock { $0.partitions.count } }
    package var configuration: TopicConfiguration { state.withLock { $0.configuration } }

    /// nil if there is no such partition.
    package func partition(_ index: Int32) -> Partition? {
        state.withLock { $0.partitions.indices.contains(Int(index)) ? $0.partitions[Int(index)] : nil }
    }

    /// As consumer groups know it.
    var groupTopic: GroupTopic { GroupTopic(name: name, id: id, partitions: Int32(partitionCount)) }

    func apply(_ configuration: TopicConfiguration) {
        let partitions = state.withLock {
            $0.configuration = configuration
            return $0.partitions
        }
        for partition in partitions { partition.apply(configuration) }
    }

    func grow(by added: [Partition]) {
        state.withLock { $0.partitions += added }
    }
}

/// The rules of topic names (Kafka's Topic.validate). Returns what is wrong, or nil.
package func topicNameProblem(_ name: String) -> String? {
    if name.isEmpty { return "the empty string is not allowed" }
    if name == "." || name == ".." { return "'.' and '..' are not allowed" }
    if name.utf8.count > Limits.topicNameBytes { return "it is longer than \(Limits.topicNameBytes) bytes" }
    let isLegal = name.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default:
            false
        }
    }
    return isLegal ? nil : "only ASCII letters, digits, '.', '_' and '-' are allowed"
}
