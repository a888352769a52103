// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the assignors of consumer groups, by example and at random.

import Bytes
import Testing

@testable import Engine

@Suite struct AssignorTests {
    private static func id(_ number: UInt64) -> TopicId { TopicId(high: 0, low: number) }

    private static func members(_ names: [String], _ topics: [UInt64]) -> [AssignorInput.Member] {
        names.map { AssignorInput.Member(id: $0, topics: Set(topics.map(id))) }
    }

    private static func next(_ input: AssignorInput, _ assignments: [String: TopicAssignment]) -> AssignorInput {
        var next = input
        for index in next.members.indices {
            next.members[index].assigned = assignments[next.members[index].id] ?? TopicAssignment()
        }
        return next
    }

    @Test func `Range gives each member consecutive partitions of every topic`() {
        let input = AssignorInput(members: Self.members(["b", "a"], [1, 2]), topics: [Self.id(1): 3, Self.id(2): 3])
        let assigned = Assignor.range.assign(input)
        #expect(assigned["a"]?.list.map(\.partitions) == [[0, 1], [0, 1]])
        #expect(assigned["b"]?.list.map(\.partitions) == [[2], [2]])
    }

    @Test func `Range puts static members first, by instance id`() {
        var input = AssignorInput(members: Self.members(["a", "b"], [1]), topics: [Self.id(1): 3])
        input.members[1].instanceId = "i"
        #expect(Assignor.range.assign(input)["b"]?.list.map(\.partitions) == [[0, 1]])
    }

    @Test func `Uniform moves only what must move when a member comes`() {
        var input = AssignorInput(members: Self.members(["a", "b"], [1]), topics: [Self.id(1): 6])
        let before = Assignor.uniform.assign(input)
        input = Self.next(input, before)
        input.members.append(AssignorInput.Member(id: "c", topics: [Self.id(1)]))
        let after = Assignor.uniform.assign(input)
        #expect(after.mapValues(\.count) == ["a": 2, "b": 2, "c": 2])
        for name in ["a", "b"] { #expect(after[name]!.isSubset(of: before[name]!)) }
    }

    @Test func `Uniform moves nothing when nothing changed, and the extra ones stay where they are`() {
        var input = AssignorInput(members: Self.members(["a", "b", "c"], [1]), topics: [Self.id(1): 7])
        // The extra one is with the last member.
        for (index, partitions) in [[0, 1], [2, 3], [4, 5, 6]].enumerated() {
            input.members[index].assigned = TopicAssignment([.init(topicId: Self.id(1), partitions: partitions.map { Int32($0) })])
        }
        let after = Assignor.uniform.assign(input)
        for member in input.members { #expect(after[member.id] == member.assigned) }
    }

    @Test func `No members, no topics and more members than partitions are assigned`() {
        #expect(Assignor.uniform.assign(AssignorInput(members: [], topics: [Self.id(1): 3])).isEmpty)
        #expect(Assignor.range.assign(AssignorInput(members: [], topics: [Self.id(1): 3])).isEmpty)
        let input = AssignorInput(members: Self.members(["a", "b", "c"], [1]), topics: [Self.id(1): 1])
        for assignor in Assignor.allCases {
            #expect(assignor.assign(input).values.map(\.count).sorted() == [0, 0, 1])
        }
    }

    @Test(arguments: 0..<60 as Range<UInt64>) func `Whatever happens, everything is assigned once, and evenly`(seed: UInt64) {
        var generator = SeededGenerator(state: seed)
        let isEqual = seed % 2 == 0
        var input = AssignorInput(members: [], topics: [:])
        for _ in 0..<12 {
            change(&input, isEqual: isEqual, &generator)
            for assignor in Assignor.allCases { check(assignor.assign(input), input) }
            let assigned = Assignor.uniform.assign(input)
            checkEvenness(assigned, input)
            input = Self.next(input, assigned)
            // With nothing changed nothing moves.
            #expect(Assignor.uniform.assign(input) == assigned)
        }
    }

    private func change(_ input: inout AssignorInput, isEqual: Bool, _ generator: inout SeededGenerator) {
        for number in 1...4 as ClosedRange<UInt64> where Bool.random(using: &generator) {
            input.topics[Self.id(number)] = Int32.random(in: 0...9, using: &generator)
        }
        let names = (0..<6).map { "m\($0)" }.filter { _ in Int.random(in: 0..<3, using: &generator) > 0 }
        let all = Set(input.topics.keys)
        let generated = names.map { name in
            let some = isEqual ? all : all.filter { _ in Bool.random(using: &generator) }
            let old = input.members.first { $0.id == name }
            return AssignorInput.Member(id: name, topics: some, assigned: old?.assigned ?? TopicAssignment())
        }
        input.members = generated
    }

    private func check(_ assigned: [String: TopicAssignment], _ input: AssignorInput) {
        var seen: [TopicId: Set<Int32>] = [:]
        for member in input.members {
            assigned[member.id]?.forEach { topicId, partition in
                #expect(member.topics.contains(topicId), "it is not subscribed")
                #expect(seen[topicId, default: []].insert(partition).inserted, "given twice")
            }
        }
        for topicId in input.subscribedTopics {
            #expect(seen[topicId, default: []] == Set(0..<(input.topics[topicId] ?? 0)), "not all is given")
        }
    }

    private func checkEvenness(_ assigned: [String: TopicAssignment], _ input: AssignorInput) {
        let counts = assigned.mapValues(\.count)
        for member in input.members {
            for other in input.members {
                let mine = assigned[member.id] ?? TopicAssignment()
                let canMove = mine.topics.keys.contains { other.topics.contains($0) }
                if canMove { #expect((counts[member.id] ?? 0) - (counts[other.id] ?? 0) <= 1) }
            }
        }
    }
}
