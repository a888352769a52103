// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the bounds of topics, each with its answer.

import NIOCore
import TestSupport
import Testing

@testable import Engine

@Suite("Limits of topics")
struct LimitsTests {
    private func code(_ test: TestEngine, _ specification: TopicSpecification) -> EngineError.Code? {
        let future = test.engine.topics.create(specification, on: test.loop)
        test.sync()
        do {
            _ = try future.wait()
            return nil
        } catch {
            return (error as? EngineError)?.code
        }
    }

    @Test func aTopicHasNoMoreThanItsPartitions() throws {
        let test = try TestEngine()
        #expect(code(test, TopicSpecification(name: "a", partitions: Int32(Limits.partitionsPerTopic) + 1)) == .invalidPartitionCount)
        #expect(code(test, TopicSpecification(name: "a", partitions: 0)) == .invalidPartitionCount)
        #expect(code(test, TopicSpecification(name: "a", partitions: 1)) == nil)
    }

    @Test func aBrokerHasNoMoreThanItsPartitions() throws {
        let test = try TestEngine { $0.partitionsMax = 10 }
        #expect(code(test, TopicSpecification(name: "a", partitions: 6)) == nil)
        #expect(code(test, TopicSpecification(name: "b", partitions: 5)) == .invalidPartitionCount)
        #expect(code(test, TopicSpecification(name: "b", partitions: 4)) == nil)
        let growing = test.engine.topics.grow("a", to: 7, on: test.loop)
        test.sync()
        #expect(throws: EngineError(.invalidPartitionCount, "")) { try growing.wait() }
        // A topic that goes makes room.
        let deleting = test.engine.topics.delete("b", on: test.loop)
        test.sync()
        try deleting.wait()
        #expect(code(test, TopicSpecification(name: "c", partitions: 4)) == nil)
    }

    /// Those that are being created count too.
    @Test func topicsThatComeAtTheSameTimeShareTheBound() throws {
        let test = try TestEngine { $0.partitionsMax = 10 }
        let futures = (0..<4).map {
            test.engine.topics.create(TopicSpecification(name: "t\($0)", partitions: 4), on: test.loop)
        }
        test.sync()
        let made = futures.count { (try? $0.wait()) != nil }
        #expect(made == 2)
        #expect(code(test, TopicSpecification(name: "last", partitions: 2)) == nil)
    }

    @Test func aNameAndItsOverridesAreBounded() throws {
        let test = try TestEngine()
        let longest = String(repeating: "n", count: Limits.topicNameBytes)
        #expect(code(test, TopicSpecification(name: longest)) == nil)
        #expect(code(test, TopicSpecification(name: longest + "n")) == .invalidTopicName)
        let many = Dictionary(uniqueKeysWithValues: (0...Limits.overridesPerTopic).map { ("key\($0)", "1") })
        #expect(code(test, TopicSpecification(name: "a", overrides: many)) == .invalidConfiguration)
    }
}
