// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: which topics a subscription follows beyond the partitions it began with.
//
// A value of its subscription. Topics that were asked for by name and whole may grow; those that match the pattern may also
// come and go.

import Bytes
import Engine

struct SubscribedTopics {
    /// Asked for by name: that one of them is deleted ends the subscription.
    let named: Set<String>
    /// Of these, the ones of which new partitions join.
    let growing: Set<String>
    let pattern: TopicGlob?
    /// How many partitions of each topic have been seen.
    private var seen: [TopicId: Int] = [:]

    init(named: Set<String>, growing: Set<String>, pattern: TopicGlob?, topics: [Topic]) {
        self.named = named
        self.growing = growing
        self.pattern = pattern
        for topic in topics { seen[topic.id] = topic.partitionCount }
    }

    var mayChange: Bool { !growing.isEmpty || pattern != nil }

    /// Partitions that have come since the last look.
    mutating func additions(_ catalog: TopicCatalog) -> [Partition] {
        var added: [Partition] = []
        var topics = growing.compactMap { catalog.topic(named: $0) }
        if let pattern {
            topics += catalog.all.filter { !$0.isInternal && !named.contains($0.name) && pattern.matches($0.name) }
            if seen.count > 2 * topics.count + 16 {
                let alive = Set(topics.map(\.id))
                seen = seen.filter { alive.contains($0.key) }
            }
        }
        for topic in topics {
            // A topic that was deleted and made anew under a name that was asked for is another topic.
            if seen[topic.id] == nil, named.contains(topic.name) { continue }
            let partitions = topic.partitions
            let known = seen[topic.id] ?? 0
            guard partitions.count > known else { continue }
            added += partitions[known...]
            seen[topic.id] = partitions.count
        }
        return added
    }
}
