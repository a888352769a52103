// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: creating, changing and deleting topics.

import Glibc
import NIOCore
import Testing

import TestSupport

@testable import Engine
@testable import Storage

@Suite struct TopicCatalogTests {
    private func code(_ future: EventLoopFuture<some Sendable>) -> EngineError.Code? {
        do {
            _ = try future.wait()
            return nil
        } catch {
            return (error as? EngineError)?.code
        }
    }

    @Test func `An engine that is let go of without a shutdown leaves nothing behind`() throws {
        weak var topics: TopicCatalog?
        weak var groups: GroupCoordinator?
        func startAndLetGo() throws {
            let test = try TestEngine()
            _ = try test.makeTopic()
            (topics, groups) = (test.engine.topics, test.engine.groups)
            #expect(topics != nil && groups != nil)
        }
        try startAndLetGo()
        #expect(topics == nil)
        #expect(groups == nil)
    }

    @Test func aTopicIsVisibleOnceItIsDurable() throws {
        let test = try TestEngine(durability: .disk)
        let future = test.engine.topics.create(TopicSpecification(name: "orders"), on: test.loop)
        test.turn()
        #expect(test.engine.topics.topic(named: "orders") == nil)
        test.sync()
        let topic = try future.wait()
        #expect(test.engine.topics.topic(named: "orders") === topic)
        #expect(test.engine.topics.topic(id: topic.id) === topic)
    }

    @Test func aNameIsTakenFromTheMomentItIsAskedFor() throws {
        let test = try TestEngine(durability: .disk)
        let first = test.engine.topics.create(TopicSpecification(name: "orders"), on: test.loop)
        let second = test.engine.topics.create(TopicSpecification(name: "orders"), on: test.loop)
        let joined = test.engine.topics.topicOrCreate(TopicSpecification(name: "orders"), on: test.loop)
        test.sync()
        #expect(code(second) == .topicExists)
        #expect(try first.wait() === joined.wait())
    }

    @Test func aTopicMadeAgainIsAnotherTopic() throws {
        let test = try TestEngine()
        let first = try test.makeTopic()
        _ = test.append(batch("old"), to: first.partitions[0])
        test.turn()
        let deletion = test.engine.topics.delete("orders", on: test.loop)
        test.sync()
        try deletion.wait()
        let second = try test.makeTopic()
        #expect(second.id != first.id)
        #expect(test.engine.topics.topic(id: first.id) == nil)
        #expect(try read(second.partitions[0]) == [])
    }

    @Test func configurationChangesTakeEffectAtOnce() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic()
        let change = test.engine.topics.alter("orders", on: test.loop) { $0["max.message.bytes"] = "100" }
        test.sync()
        try change.wait()
        #expect(
            test.append(batch(String(repeating: "x", count: 200)), to: topic.partitions[0]).error
                == .messageTooLarge)
    }

    @Test func aBadConfigurationChangesNothing() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic()
        let change = test.engine.topics.alter("orders", on: test.loop) { $0["retention.ms"] = "soon" }
        test.sync()
        #expect(code(change) == .invalidConfiguration)
        #expect(topic.configuration.overrides.isEmpty)
        let next = test.engine.topics.alter("orders", on: test.loop) { $0["retention.ms"] = "5" }
        test.sync()
        try next.wait()
    }

    @Test func aTopicGrowsAndNeverShrinks() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic(partitions: 2)
        let growth = test.engine.topics.grow("orders", to: 5, on: test.loop)
        test.sync()
        try growth.wait()
        #expect(topic.partitions.map(\.index) == [0, 1, 2, 3, 4])
        let shrinking = test.engine.topics.grow("orders", to: 3, on: test.loop)
        test.sync()
        #expect(code(shrinking) == .invalidPartitionCount)
    }

    @Test func whatDoesNotExistCannotBeDeletedOrChanged() throws {
        let test = try TestEngine()
        #expect(code(test.engine.topics.delete("nothing", on: test.loop)) == .unknownTopic)
        #expect(code(test.engine.topics.grow("nothing", to: 2, on: test.loop)) == .unknownTopic)
        #expect(code(test.engine.topics.alter("nothing", on: test.loop) { _ in }) == .unknownTopic)
    }

    @Test func producerIdsAreNeverRepeated() throws {
        let test = try TestEngine()
        var seen: Set<Int64> = []
        for _ in 0..<2500 {
            let id = test.engine.producerIds.allocate(on: test.loop)
            test.sync()
            #expect(seen.insert(try id.wait()).inserted)
        }
    }

    /// What is answered with an error now must not be there after the next start.
    @Test func aLogThatCannotBeOpenedLeavesNothingOnRecord() throws {
        let files = SimulatedFileSystem(seed: 1)
        do {
            let test = try TestEngine(fileSystem: files, durability: .disk)
            _ = try test.makeTopic("orders")
            // Directories of other topics of these names are in the way, and cannot be moved.
            for name in ["events-0", "orders-1"] {
                try files.makeDirectory(name)
                let file = try files.open("\(name)/partition.metadata", create: true)
                try file.write(ByteBuffer(string: "version: 0\ntopic_id: rnhZBsh8R06YJ4bsnc3FKQ"), at: 0)
            }
            files.inject(SimulatedFault(.rename, times: 2, errno: EIO))
            let creation = test.engine.topics.create(TopicSpecification(name: "events"), on: test.loop)
            let growth = test.engine.topics.grow("orders", to: 2, on: test.loop)
            test.sync()
            #expect(code(creation) == .storageFailure && code(growth) == .storageFailure)
            #expect(test.engine.topics.topic(named: "orders")?.partitionCount == 1)
        }
        files.crash(.processKilled)
        let test = try TestEngine(fileSystem: files, durability: .disk)
        #expect(test.engine.topics.topic(named: "events") == nil)
        #expect(test.engine.topics.topic(named: "orders")?.partitionCount == 1)
        // And once the directories can be moved, both work.
        _ = try test.makeTopic("events")
        let growth = test.engine.topics.grow("orders", to: 2, on: test.loop)
        test.sync()
        try growth.wait()
        #expect(test.engine.topics.topic(named: "orders")?.partitionCount == 2)
    }
}
