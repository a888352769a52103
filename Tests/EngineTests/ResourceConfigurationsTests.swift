// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: configurations of brokers, groups and client metrics that are set at run time.

import NIOConcurrencyHelpers
import NIOCore
import Records
import Storage
import Synchronization
import TestSupport
import Testing

@testable import Engine

@Suite struct ResourceConfigurationsTests {
    private let group = ConfigurationResource(.group, "g")
    private let broker = ConfigurationResource(.broker, "1")
    private let brokers = ConfigurationResource(.broker, "")

    private func set(_ test: TestEngine, _ resource: ConfigurationResource, _ overrides: [String: String]) throws {
        let change = test.engine.configurations.alter(resource, on: test.loop) { _ in overrides }
        for _ in 0..<4 { test.sync() }
        try change.wait()
    }

    private func code(_ body: () throws -> Void) -> EngineError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? EngineError)?.code
        }
    }

    @Test func aChangeIsVisibleOnceItIsDurable() throws {
        let test = try TestEngine(durability: .disk)
        let change = test.engine.configurations.alter(group, on: test.loop) { _ in
            ["consumer.session.timeout.ms": "50000"]
        }
        test.turn()
        #expect(test.engine.configurations.overrides(of: group).isEmpty)
        test.sync()
        try change.wait()
        #expect(test.engine.configurations.overrides(of: group) == ["consumer.session.timeout.ms": "50000"])
    }

    @Test func changesOfOneResourceSeeEachOther() throws {
        let test = try TestEngine(durability: .disk)
        let changes = (0..<3).map { number in
            test.engine.configurations.alter(ConfigurationResource(.clientMetrics, "m"), on: test.loop) { overrides in
                ["metrics": (overrides["metrics"].map { $0 + "," } ?? "") + "m\(number)"]
            }
        }
        for _ in 0..<4 { test.sync() }
        for change in changes { try change.wait() }
        let stored = test.engine.configurations.overrides(of: ConfigurationResource(.clientMetrics, "m"))
        #expect(stored == ["metrics": "m0,m1,m2"])
    }

    @Test func everythingIsThereAfterARestart() throws {
        let files = MemoryFileSystem()
        let first = try TestEngine(fileSystem: files)
        try set(first, broker, ["log.retention.ms": "1"])
        try set(first, brokers, ["log.segment.bytes": "1000"])
        try set(first, group, ["consumer.session.timeout.ms": "50000"])
        try set(first, ConfigurationResource(.group, "gone"), ["consumer.session.timeout.ms": "50000"])
        try set(first, ConfigurationResource(.group, "gone"), [:])
        _ = try first.makeTopic()
        try first.engine.shutDown()

        let second = try TestEngine(fileSystem: files)
        let topic = try #require(second.engine.topics.topic(named: "orders"))
        #expect(topic.configuration.log.retentionMs == 1)
        #expect(topic.configuration.log.segmentBytes == 1000)
        func overrides() -> [String: GroupOverrides] { second.engine.groups.table.withLock { $0.overrides } }
        #expect(overrides() == ["g": GroupOverrides(sessionTimeoutMs: 50_000)])
        try set(second, group, [:])
        #expect(overrides() == [:])
    }

    @Test func rewritingTheMetadataLogKeepsThem() throws {
        let files = MemoryFileSystem()
        let first = try TestEngine(fileSystem: files)
        try set(first, group, ["consumer.session.timeout.ms": "50000"])
        for number in 0..<50 { try set(first, brokers, ["log.retention.ms": "\(number)"]) }
        first.engine.rewriteInternalLogs(largerThan: 1, on: first.loop)
        for _ in 0..<4 { first.sync() }
        try first.engine.shutDown()
        let second = try TestEngine(fileSystem: files)
        #expect(second.engine.configurations.overrides(of: group) == ["consumer.session.timeout.ms": "50000"])
        #expect(second.engine.topics.defaults.ofCluster == ["retention.ms": "49"])
    }

    @Test func theBrokersValuesAreInForceAtOnceForTopicsWithoutTheirOwn() throws {
        let test = try TestEngine { $0.topicDefaults = ["retention.ms": "100"] }
        let plain = try test.makeTopic("plain")
        let own = try test.makeTopic("own", overrides: ["retention.ms": "7"])
        #expect(plain.configuration.log.retentionMs == 100)
        try set(test, brokers, ["log.retention.ms": "200"])
        #expect(plain.configuration.log.retentionMs == 200)
        try set(test, broker, ["log.retention.ms": "300", "message.max.bytes": "100"])
        #expect(plain.configuration.log.retentionMs == 300)
        #expect(own.configuration.log.retentionMs == 7)
        let large = batch(String(repeating: "x", count: 200))
        #expect(test.append(large, to: plain.partitions[0]).error == .messageTooLarge)
        #expect(try test.makeTopic("later").configuration.log.retentionMs == 300)
        try set(test, broker, [:])
        #expect(plain.configuration.log.retentionMs == 200)
        try set(test, brokers, [:])
        #expect(plain.configuration.log.retentionMs == 100)
    }

    @Test func partitionsThatAreAddedHaveTheValuesInForce() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic()
        try set(test, broker, ["message.max.bytes": "100"])
        let growth = test.engine.topics.grow("orders", to: 2, on: test.loop)
        test.sync()
        try growth.wait()
        #expect(test.append(batch(String(repeating: "x", count: 200)), to: topic.partitions[1]).error == .messageTooLarge)
    }

    /// What is set for everybody's topics must not break the broker's own.
    @Test func theBrokersOwnTopicsKeepTheirValues() throws {
        let test = try TestEngine()
        try set(test, brokers, ["message.max.bytes": "100", "log.retention.ms": "1"])
        let topic = test.engine.topics.create(
            TopicSpecification(name: "__consumer_offsets", partitions: 1, isInternal: true), on: test.loop)
        test.sync()
        #expect(try topic.wait().configuration.rules.maxMessageBytes == 1_048_588)
    }

    @Test func anotherNodesValuesAreNotInForce() throws {
        let test = try TestEngine()
        try set(test, ConfigurationResource(.broker, "2"), ["log.retention.ms": "1"])
        #expect(test.engine.topics.defaults.effective.isEmpty)
    }

    @Test(arguments: [
        (ConfigurationResource.Kind.broker, "", ["log.retention.mss": "1"], EngineError.Code.invalidRequest),
        (.broker, "", ["retention.ms": "1"], .invalidRequest),
        (.broker, "", ["log.retention.ms": "soon"], .invalidRequest),
        (.broker, "", ["num.partitions": "3"], .invalidRequest),
        (.group, "", ["consumer.session.timeout.ms": "45000"], .invalidRequest),
        (.group, "g", ["session.timeout.ms": "45000"], .invalidConfiguration),
        (.group, "g", ["consumer.session.timeout.ms": "44999"], .invalidConfiguration),
        (.group, "g", ["consumer.session.timeout.ms": "60001"], .invalidConfiguration),
        (.group, "g", ["consumer.session.timeout.ms": "x"], .invalidConfiguration),
        (.group, "g", ["consumer.heartbeat.interval.ms": "4999"], .invalidConfiguration),
        (.group, "g", ["consumer.heartbeat.interval.ms": "15001"], .invalidConfiguration),
        (.clientMetrics, "", ["metrics": "*"], .invalidRequest),
        (.clientMetrics, "m", ["metric": "*"], .invalidRequest),
        (.clientMetrics, "m", ["interval.ms": "99"], .invalidRequest),
        (.clientMetrics, "m", ["interval.ms": "3600001"], .invalidRequest),
        (.clientMetrics, "m", ["interval.ms": "often"], .invalidConfiguration),
        (.clientMetrics, "m", ["match": "client_id"], .invalidConfiguration),
        (.clientMetrics, "m", ["match": "client=x"], .invalidConfiguration),
        (.clientMetrics, "m", ["match": "client_id=("], .invalidConfiguration),
    ] as [(ConfigurationResource.Kind, String, [String: String], EngineError.Code)])
    func whatCannotBeIsRefusedAndChangesNothing(
        kind: ConfigurationResource.Kind, name: String, overrides: [String: String], expected: EngineError.Code
    ) throws {
        let test = try TestEngine { $0.groups = GroupConfiguration() }
        let resource = ConfigurationResource(kind, name)
        #expect(code { try set(test, resource, overrides) } == expected)
        #expect(test.engine.configurations.overrides(of: resource).isEmpty)
    }

    @Test func aSlipIsAnsweredWithTheNearestName() throws {
        let test = try TestEngine()
        #expect {
            try set(test, brokers, ["log.retention.mss": "1"])
        } throws: { "\($0)".contains("did you mean `log.retention.ms`?") }
    }

    @Test func aSessionMustOutlastTheHeartbeat() throws {
        let test = try TestEngine {
            $0.groups = GroupConfiguration()
            $0.groups.consumerSessionTimeouts = 1...60_000
        }
        #expect(code { try set(test, group, ["consumer.session.timeout.ms": "5000"]) } == .invalidConfiguration)
        #expect(code { try set(test, group, ["consumer.session.timeout.ms": "5001"]) } == nil)
    }

    @Test func theTableIsBounded() throws {
        let test = try TestEngine()
        let long = String(repeating: "x", count: Limits.configurationValueBytes)
        #expect(code { try set(test, ConfigurationResource(.clientMetrics, "m"), ["metrics": long]) } == .invalidConfiguration)
        let name = String(repeating: "n", count: Limits.resourceNameBytes + 1)
        #expect(code { try set(test, ConfigurationResource(.group, name), [:]) } == .invalidRequest)
        let value = String(repeating: "x", count: Limits.configurationValueBytes - 10)
        let changes = (0...Limits.configurationBytes / value.utf8.count).map { number in
            test.engine.configurations.alter(ConfigurationResource(.clientMetrics, "m\(number)"), on: test.loop) { _ in
                ["metrics": value]
            }
        }
        for _ in 0..<4 { test.sync() }
        #expect(code { for change in changes { try change.wait() } } == .limitReached)
        // Taking something away makes room.
        try set(test, ConfigurationResource(.clientMetrics, "m0"), [:])
        try set(test, ConfigurationResource(.clientMetrics, "last"), ["metrics": "x"])
    }

    @Test func changesOfOneTopicWaitForEachOther() throws {
        let test = try TestEngine(durability: .disk)
        let creation = test.engine.topics.create(TopicSpecification(name: "orders"), on: test.loop)
        test.sync()
        let topic = try creation.wait()
        let changes = ["retention.ms", "segment.bytes", "segment.ms"].map { key in
            test.engine.topics.alter("orders", on: test.loop) { $0[key] = "1000" }
        }
        let deletion = test.engine.topics.delete("orders", on: test.loop)
        let late = test.engine.topics.alter("orders", on: test.loop) { $0["retention.ms"] = "5" }
        for _ in 0..<6 { test.sync() }
        for change in changes { try change.wait() }
        #expect(topic.configuration.overrides.count == 3)
        try deletion.wait()
        #expect(code { try late.wait() } == .unknownTopic)
    }

    @Test func namesThatMetricsWouldConfuseCollide() throws {
        let test = try TestEngine()
        _ = try test.makeTopic("a.b")
        #expect(code { _ = try test.makeTopic("a_b") } == .invalidTopicName)
        _ = try test.makeTopic("ab")
        let both = ["c.d", "c_d"].map { test.engine.topics.create(TopicSpecification(name: $0), on: test.loop) }
        test.sync()
        #expect(both.count { (try? $0.wait()) != nil } == 1)
        let deletion = test.engine.topics.delete("a.b", on: test.loop)
        test.sync()
        try deletion.wait()
        _ = try test.makeTopic("a_b")
    }
}

@Suite struct ClientPatternTests {
    @Test(arguments: [
        ("abc", "abc", true), ("abc", "abcd", false), ("ab.", "abc", true), ("a.*", "a", true), (".*", "", true),
        ("a+b?", "aaab", true), ("a+b?", "b", false), ("11\\.1.*", "11.1.3", true), ("11\\.1.*", "1111", false),
        ("a|bc", "bc", true), ("a|bc", "abc", false), ("(ab)*c", "ababc", true), ("(a|b)+", "abba", true),
        ("[a-c_]+", "ab_c", true), ("[^a-c]", "d", true), ("[^a-c]", "a", false), ("\\d+", "127", true),
        ("\\w-\\D", "a-b", true), ("^abc$", "abc", true), ("[]]", "]", true), ("[\\d.]+", "1.2", true),
        ("(x*)*", "xxxx", true), ("apache-kafka-java", "apache-kafka-java", true),
    ])
    func aPatternIsHeldAgainstTheWholeText(pattern: String, text: String, expected: Bool) throws {
        #expect(try #require(ClientPattern(pattern)).matches(text) == expected)
    }

    @Test(arguments: ["", "(", "a)", "[a", "[]", "*", "+a", "a{2}", "\\", "(?i)a", "[\\d", "a**", "[b-a]", "\\1"])
    func whatIsNoPatternIsRefused(pattern: String) {
        #expect(ClientPattern(pattern) == nil)
    }

    @Test func aPatternThatBacktracksElsewhereTakesNoLonger() throws {
        let pattern = try #require(ClientPattern("(a*)*(a*)*(a*)*b"))
        #expect(!pattern.matches(String(repeating: "a", count: Limits.clientPatternTextBytes)))
        #expect(ClientPattern(String(repeating: "a", count: Limits.clientPatternBytes + 1)) == nil)
        #expect(!pattern.matches(String(repeating: "b", count: Limits.clientPatternTextBytes + 1)))
    }
}
