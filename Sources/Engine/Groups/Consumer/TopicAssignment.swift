// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: partitions by topic id: what a member of a consumer group has, or is to have.
//
// A value. No topic is in it without a partition, so equal assignments are equal values.

import Bytes

/// Partitions of one topic, in order.
package struct TopicIdPartitions: Equatable, Sendable {
    package var topicId: TopicId
    package var partitions: [Int32]

    package init(topicId: TopicId, partitions: [Int32]) {
        self.topicId = topicId
        self.partitions = partitions
    }
}

struct TopicAssignment: Equatable, Sendable {
    private(set) var topics: [TopicId: Set<Int32>] = [:]

    init() {}

    init(_ list: [TopicIdPartitions]) {
        for each in list where !each.partitions.isEmpty {
            topics[each.topicId, default: []].formUnion(each.partitions)
        }
    }

    init(_ topics: [TopicId: Set<Int32>]) {
        self.topics = topics.filter { !$0.value.isEmpty }
    }

    var isEmpty: Bool { topics.isEmpty }
    var count: Int { topics.values.reduce(0) { $0 + $1.count } }

    func contains(_ topicId: TopicId, _ partition: Int32) -> Bool {
        topics[topicId]?.contains(partition) == true
    }

    mutating func insert(_ topicId: TopicId, _ partition: Int32) {
        topics[topicId, default: []].insert(partition)
    }

    mutating func remove(_ topicId: TopicId, _ partition: Int32) {
        topics[topicId]?.remove(partition)
        if topics[topicId]?.isEmpty == true { topics[topicId] = nil }
    }

    func isSubset(of other: TopicAssignment) -> Bool {
        topics.allSatisfy { $0.value.isSubset(of: other.topics[$0.key] ?? []) }
    }

    func intersects(_ other: TopicAssignment) -> Bool {
        topics.contains { !$0.value.isDisjoint(with: other.topics[$0.key] ?? []) }
    }

    func forEach(_ body: (TopicId, Int32) -> Void) {
        for (topicId, partitions) in topics {
            for partition in partitions { body(topicId, partition) }
        }
    }

    /// In the order of topic ids and partitions.
    var list: [TopicIdPartitions] {
        topics.sorted { $0.key.isBefore($1.key) }.map {
            TopicIdPartitions(topicId: $0.key, partitions: $0.value.sorted())
        }
    }
}

extension TopicId {
    /// An order that is the same in every process.
    func isBefore(_ other: TopicId) -> Bool { (high, low) < (other.high, other.low) }
}
