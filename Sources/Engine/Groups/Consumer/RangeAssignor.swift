// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the `range` assignor: each topic is cut into as many consecutive ranges as it has subscribers.
//
// Subscribers are in the order of their instance ids, then of their member ids, for every topic, so that members with
// the same subscription get the same partitions of topics of the same size. The first ranges are the longer ones.

import Bytes

enum RangeAssignor {
    static func assign(_ input: AssignorInput) -> [String: TopicAssignment] {
        let members = input.members.sorted(by: isBefore)
        var assignments = Dictionary(uniqueKeysWithValues: members.map { ($0.id, TopicAssignment()) })
        for topicId in input.subscribedTopics {
            let subscribers = members.filter { $0.topics.contains(topicId) }
            let partitions = Int(input.topics[topicId] ?? 0)
            let (least, rest) = partitions.quotientAndRemainder(dividingBy: subscribers.count)
            var next = 0
            for (index, member) in subscribers.enumerated() {
                let count = least + (index < rest ? 1 : 0)
                for partition in next..<next + count { assignments[member.id]?.insert(topicId, Int32(partition)) }
                next += count
            }
        }
        return assignments
    }

    /// Static members first.
    private static func isBefore(_ left: AssignorInput.Member, _ right: AssignorInput.Member) -> Bool {
        switch (left.instanceId, right.instanceId) {
        case (let first?, let second?): (first, left.id) < (second, right.id)
        case (_?, nil): true
        case (nil, _?): false
        case (nil, nil): left.id < right.id
        }
    }
}
