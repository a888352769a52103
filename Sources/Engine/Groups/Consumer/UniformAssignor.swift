// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the `uniform` assignor: members get as equally many partitions as can be, and keep what they have
// where that allows it.
//
// With one subscription for all, numbers differ by one at most, and only what must move moves. With different ones, no
// partition could move to a subscriber of its topic that has two less; each move makes the numbers more equal, so
// that it ends.

import Bytes

enum UniformAssignor {
    private struct Place: Hashable {
        var topicId: TopicId
        var partition: Int32
    }

    static func assign(_ input: AssignorInput) -> [String: TopicAssignment] {
        guard !input.members.isEmpty else { return [:] }
        return input.isHomogeneous ? assignEqual(input) : assignDifferent(input)
    }

    // MARK: One subscription

    private static func assignEqual(_ input: AssignorInput) -> [String: TopicAssignment] {
        let members = input.members.sorted { $0.id < $1.id }
        let topics = input.subscribedTopics
        let total = topics.reduce(0) { $0 + Int(input.topics[$1] ?? 0) }
        let (least, rest) = total.quotientAndRemainder(dividingBy: members.count)
        var extra = rest
        var taken: Set<Place> = []
        var assignments: [String: TopicAssignment] = [:]
        var counts: [String: Int] = [:]
        for member in members {
            var kept = TopicAssignment()
            var count = 0
            for place in places(of: member, input) where count <= least && !taken.contains(place) {
                if count == least {
                    guard extra > 0 else { break }
                    extra -= 1
                }
                kept.insert(place.topicId, place.partition)
                taken.insert(place)
                count += 1
            }
            assignments[member.id] = kept
            counts[member.id] = count
        }
        var free = topics.flatMap { topicId in
            (0..<(input.topics[topicId] ?? 0)).map { Place(topicId: topicId, partition: $0) }
        }.filter { !taken.contains($0) }[...]
        for member in members {
            let count = counts[member.id] ?? 0
            var quota = least
            if count <= least && extra > 0 {
                extra -= 1
                quota += 1
            }
            for place in free.prefix(max(quota - count, 0)) {
                assignments[member.id]?.insert(place.topicId, place.partition)
            }
            free = free.dropFirst(max(quota - count, 0))
        }
        return assignments
    }

    /// What a member has and may keep, in order.
    private static func places(of member: AssignorInput.Member, _ input: AssignorInput) -> [Place] {
        member.assigned.list.filter { member.topics.contains($0.topicId) }.flatMap { topic in
            topic.partitions.filter { $0 >= 0 && $0 < input.topics[topic.topicId] ?? 0 }
                .map { Place(topicId: topic.topicId, partition: $0) }
        }
    }

    // MARK: Different subscriptions

    private static func assignDifferent(_ input: AssignorInput) -> [String: TopicAssignment] {
        let members = input.members.sorted { $0.id < $1.id }
        var owners: [Place: String] = [:]
        var counts = Dictionary(uniqueKeysWithValues: members.map { ($0.id, 0) })
        for member in members {
            for place in places(of: member, input) where owners[place] == nil {
                owners[place] = member.id
                counts[member.id, default: 0] += 1
            }
        }
        var subscribers: [TopicId: [String]] = [:]
        for topicId in input.subscribedTopics {
            subscribers[topicId] = members.filter { $0.topics.contains(topicId) }.map(\.id)
        }
        // Topics with the fewest subscribers first: the others have more to choose from.
        let topics = input.subscribedTopics.enumerated().sorted {
            (subscribers[$0.element]?.count ?? 0, $0.offset) < (subscribers[$1.element]?.count ?? 0, $1.offset)
        }.map(\.element)
        let all = topics.flatMap { topicId in
            (0..<(input.topics[topicId] ?? 0)).map { Place(topicId: topicId, partition: $0) }
        }
        for place in all where owners[place] == nil {
            guard let least = leastLoaded(subscribers[place.topicId] ?? [], counts) else { continue }
            owners[place] = least
            counts[least, default: 0] += 1
        }
        balance(all, subscribers, &owners, &counts)
        var assignments = Dictionary(uniqueKeysWithValues: members.map { ($0.id, TopicAssignment()) })
        for (place, owner) in owners { assignments[owner]?.insert(place.topicId, place.partition) }
        return assignments
    }

    private static func balance(
        _ places: [Place], _ subscribers: [TopicId: [String]], _ owners: inout [Place: String],
        _ counts: inout [String: Int]
    ) {
        var hasMoved = true
        while hasMoved {
            hasMoved = false
            for place in places {
                guard let owner = owners[place], let least = leastLoaded(subscribers[place.topicId] ?? [], counts),
                    counts[owner, default: 0] - counts[least, default: 0] > 1
                else { continue }
                owners[place] = least
                counts[owner, default: 0] -= 1
                counts[least, default: 0] += 1
                hasMoved = true
            }
        }
    }

    private static func leastLoaded(_ members: [String], _ counts: [String: Int]) -> String? {
        var best: String?
        for member in members where best.map({ counts[member, default: 0] < counts[$0, default: 0] }) ?? true {
            best = member
        }
        return best
    }
}
