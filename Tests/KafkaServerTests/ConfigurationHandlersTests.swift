// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs and ListConfigResources.

import Engine
import KafkaWire
import NIOCore
import Storage
import TestSupport
import Testing

@testable import KafkaServer

/// Configuration calls, as short as tests like them.
struct ConfigurationCalls {
    typealias Types = ConfigResourceType
    typealias Operation = IncrementalAlterConfigsRequest.Operation
    typealias Description = DescribeConfigsResponse.Config

    let connection: TestConnection

    func describe(
        _ type: Int8, _ name: String, keys: [String]? = nil, synonyms: Bool = true, documentation: Bool = false,
        version: Int16 = 4
    ) throws -> DescribeConfigsResponse.Result {
        var resource = DescribeConfigsRequest.Resource()
        resource.resourceType = type
        resource.resourceName = name
        resource.configurationKeys = keys
        var request = DescribeConfigsRequest()
        request.resources = [resource]
        request.includeSynonyms = synonyms
        request.includeDocumentation = documentation
        return try #require(connection.call(request, version: version).results.first)
    }

    func value(_ type: Int8, _ name: String, _ key: String) throws -> Description? {
        try describe(type, name).configs.first { $0.name == key }
    }

    static func resource(
        _ type: Int8, _ name: String, _ changes: [(key: String, operation: Int8, value: String?)]
    ) -> IncrementalAlterConfigsRequest.Resource {
        var resource = IncrementalAlterConfigsRequest.Resource()
        resource.resourceType = type
        resource.resourceName = name
        resource.configs = changes.map { change in
            var config = IncrementalAlterConfigsRequest.Config()
            config.name = change.key
            config.configOperation = change.operation
            config.value = change.value
            return config
        }
        return resource
    }

    func change(
        _ resources: [IncrementalAlterConfigsRequest.Resource], validateOnly: Bool = false, version: Int16 = 1
    ) throws -> [KafkaErrorCode] {
        var request = IncrementalAlterConfigsRequest()
        request.resources = resources
        request.validateOnly = validateOnly
        return try connection.call(request, version: version).resources.map(\.errorCode)
    }

    func set(_ type: Int8, _ name: String, _ key: String, _ value: String) throws -> KafkaErrorCode {
        try change([Self.resource(type, name, [(key, Operation.set, value)])])[0]
    }

    func replace(
        _ type: Int8, _ name: String, _ values: [(String, String?)], validateOnly: Bool = false, version: Int16 = 2
    ) throws -> KafkaErrorCode {
        var resource = AlterConfigsRequest.Resource()
        resource.resourceType = type
        resource.resourceName = name
        resource.configs = values.map { key, value in
            var config = AlterConfigsRequest.Config()
            config.name = key
            config.value = value
            return config
        }
        var request = AlterConfigsRequest()
        request.resources = [resource]
        request.validateOnly = validateOnly
        return try #require(connection.call(request, version: version).responses.first).errorCode
    }
}

@Suite struct ConfigurationHandlersTests {
    private typealias Types = ConfigResourceType
    private typealias Operation = IncrementalAlterConfigsRequest.Operation
    private typealias Source = DescribeConfigsResponse.ConfigSource

    let test: TestEngine
    let calls: ConfigurationCalls

    init() throws {
        test = try TestEngine { engine in
            engine.groups = GroupConfiguration()
            engine.topicDefaults = ["segment.bytes": "5000"]
            engine.logDirectory = "/var/lib/martlet"
        }
        calls = ConfigurationCalls(connection: try TestConnection(test))
    }

    // MARK: Describing

    @Test func sourcesAndSynonymsOfATopicComeInKafkasOrder() throws {
        _ = try test.makeTopic("t", overrides: ["segment.bytes": "6000"])
        #expect(try calls.set(Types.broker, "1", "log.segment.bytes", "7000") == .none)
        #expect(try calls.set(Types.broker, "", "log.segment.bytes", "8000") == .none)
        let config = try #require(try calls.value(Types.topic, "t", "segment.bytes"))
        #expect(config.value == "6000" && config.configSource == Source.topic && !config.readOnly && !config.isSensitive)
        #expect(config.synonyms.map(\.name) == ["segment.bytes"] + Array(repeating: "log.segment.bytes", count: 4))
        #expect(config.synonyms.map(\.value) == ["6000", "7000", "8000", "5000", "1073741824"])
        #expect(config.synonyms.map(\.source) == [1, 2, 3, 4, 5])
        let other = try #require(try calls.value(Types.topic, "t", "retention.ms"))
        #expect(other.value == "604800000" && other.configSource == Source.defaultValue && other.synonyms.isEmpty)
    }

    @Test(arguments: [1, 2, 3, 4] as [Int16])
    func whatIsNotAskedForIsLeftOut(version: Int16) throws {
        _ = try test.makeTopic("t")
        let bare = try calls.describe(Types.topic, "t", synonyms: false, version: version)
        #expect(bare.configs.count == TopicConfigurationKey.all.count)
        #expect(bare.configs.allSatisfy { $0.synonyms.isEmpty && $0.documentation == nil })
        let full = try calls.describe(Types.topic, "t", documentation: true, version: version)
        #expect(full.configs.contains { !$0.synonyms.isEmpty })
        #expect(full.configs.allSatisfy { ($0.documentation != nil) == (version >= 3) })
        #expect(full.configs.allSatisfy { ($0.configType != 0) == (version >= 3) })
    }

    @Test func keysThatAreNamedAreAnsweredAndAnEmptyListNamesAll() throws {
        _ = try test.makeTopic("t")
        let named = try calls.describe(Types.topic, "t", keys: ["retention.ms", "nothing"])
        #expect(named.configs.map(\.name) == ["retention.ms"])
        #expect(try calls.describe(Types.topic, "t", keys: []).configs.count == TopicConfigurationKey.all.count)
        #expect(try calls.describe(Types.topic, "t", keys: ["nothing"]).configs.isEmpty)
    }

    @Test(arguments: [
        (2, "nothing", KafkaErrorCode.unknownTopicOrPartition), (2, "a b", .invalidTopicException),
        (2, "", .invalidTopicException), (4, "2", .invalidRequest), (4, "one", .invalidRequest),
        (8, "", .invalidRequest), (8, "2", .invalidRequest), (16, "", .invalidRequest), (32, "", .invalidRequest),
        (0, "x", .invalidRequest), (99, "x", .invalidRequest), (-1, "x", .invalidRequest),
    ] as [(Int8, String, KafkaErrorCode)])
    func aResourceThatIsNotThereIsRefused(type: Int8, name: String, expected: KafkaErrorCode) throws {
        for version: Int16 in 1...4 {
            let result = try calls.describe(type, name, version: version)
            #expect(result.errorCode == expected && result.errorMessage != nil && result.configs.isEmpty)
            #expect(result.resourceType == type && result.resourceName == name)
        }
    }

    /// What AdminClient tools, UIs, and clients look up.
    @Test(arguments: [
        ("auto.create.topics.enable", "true"), ("default.replication.factor", "1"), ("num.partitions", "1"),
        ("offsets.topic.replication.factor", "1"), ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"), ("inter.broker.protocol.version", "4.0-IV3"), ("node.id", "1"),
        ("broker.id", "1"), ("message.max.bytes", "1048588"), ("delete.topic.enable", "true"),
        ("min.insync.replicas", "1"), ("log.dirs", "/var/lib/martlet"), ("log.retention.ms", "604800000"),
        ("log.segment.bytes", "5000"), ("group.min.session.timeout.ms", "6000"), ("process.roles", "broker,controller"),
        ("advertised.listeners", "PLAINTEXT://broker.example:9092"), ("group.consumer.session.timeout.ms", "45000"),
        ("offsets.retention.minutes", "10080"), ("compression.type", "producer"), ("log.cleanup.policy", "delete"),
    ])
    func theBrokerTellsWhatToolsLookFor(key: String, value: String) throws {
        let config = try #require(try calls.value(Types.broker, "1", key))
        #expect(config.value == value)
        #expect(config.readOnly == !TopicConfigurationKey.all.contains { $0.brokerName == key })
    }

    @Test func noKeyIsToldTwice() throws {
        let names = try calls.describe(Types.broker, "1").configs.map(\.name)
        #expect(Set(names).count == names.count)
    }

    @Test func theEmptyNameTellsWhatWasSetForAllBrokers() throws {
        #expect(try calls.describe(Types.broker, "").configs.isEmpty)
        #expect(try calls.set(Types.broker, "", "log.retention.ms", "5") == .none)
        let configs = try calls.describe(Types.broker, "").configs
        #expect(configs.map(\.name) == ["log.retention.ms"] && configs[0].configSource == Source.dynamicDefaultBroker)
        let own = try #require(try calls.value(Types.broker, "1", "log.retention.ms"))
        #expect(own.value == "5" && own.configSource == Source.dynamicDefaultBroker)
        #expect(own.synonyms.map(\.name) == ["log.retention.ms", "log.retention.hours"])
    }

    @Test func groupsAndClientMetricsNeedNotExist() throws {
        let group = try calls.describe(Types.group, "g")
        let consumer = group.configs.filter { $0.name.hasPrefix("consumer.") }
        #expect(consumer.map(\.value) == ["5000", "45000"])
        #expect(group.configs.allSatisfy { $0.configSource == Source.defaultValue && $0.synonyms.count == 1 })
        #expect(try calls.describe(Types.clientMetrics, "m").configs.isEmpty)
        #expect(try calls.set(Types.group, "g", "consumer.session.timeout.ms", "50000") == .none)
        let set = try #require(try calls.value(Types.group, "g", "consumer.session.timeout.ms"))
        #expect(set.value == "50000" && set.configSource == Source.group)
        #expect(try calls.set(Types.clientMetrics, "m", "metrics", "a,b") == .none)
        let metrics = try calls.describe(Types.clientMetrics, "m").configs
        #expect(metrics.map(\.name) == ["metrics"] && metrics[0].configSource == Source.clientMetrics)
    }

    @Test func loggersAreToldAndCannotBeChanged() throws {
        let loggers = try calls.describe(Types.brokerLogger, "1").configs
        #expect(loggers.contains { $0.name == "root" && $0.value == "INFO" && $0.readOnly })
        #expect(loggers.allSatisfy { $0.configSource == Source.dynamicBrokerLogger })
        #expect(try calls.set(Types.brokerLogger, "1", "root", "DEBUG") == .invalidRequest)
        #expect(try calls.replace(Types.brokerLogger, "1", [("root", "DEBUG")]) == .invalidRequest)
    }

    // MARK: Changing

    @Test func listsGrowAndShrink() throws {
        func list() throws -> String? { try calls.value(Types.clientMetrics, "m", "metrics")?.value }
        func run(_ operation: Int8, _ value: String) throws -> KafkaErrorCode {
            try calls.change([ConfigurationCalls.resource(Types.clientMetrics, "m", [("metrics", operation, value)])])[0]
        }
        #expect(try run(Operation.append, "a,b") == .none)
        #expect(try run(Operation.append, "b,c") == .none)
        #expect(try list() == "a,b,c")
        #expect(try run(Operation.subtract, "b,x") == .none)
        #expect(try list() == "a,c")
        _ = try test.makeTopic("t")
        let same = ConfigurationCalls.resource(Types.topic, "t", [("cleanup.policy", Operation.append, "delete")])
        #expect(try calls.change([same]) == [.none])
        #expect(try calls.value(Types.topic, "t", "cleanup.policy")?.value == "delete")
    }

    /// Elsewhere this took a lock with it, and every later request failed.
    @Test(arguments: [
        (2, "t", "retention.ms"), (2, "t", "nothing"), (4, "1", "log.retention.ms"), (4, "", "num.partitions"),
        (16, "m", "interval.ms"), (32, "g", "consumer.session.timeout.ms"), (32, "g", "nothing"),
    ] as [(Int8, String, String)])
    func whatIsNoListCannotGrowAndTheNextRequestIsAnswered(type: Int8, name: String, key: String) throws {
        _ = try test.makeTopic("t")
        for operation in [Operation.append, Operation.subtract] {
            for version: Int16 in 0...1 {
                let resource = ConfigurationCalls.resource(type, name, [(key, operation, "1")])
                #expect(try calls.change([resource], version: version) == [.invalidConfig])
            }
        }
        #expect(try calls.set(Types.topic, "t", "retention.ms", "5") == .none)
    }

    @Test(arguments: [
        (2, "t", ["retention.ms", "segment.ms"], "max.message.bytes", KafkaErrorCode.invalidConfig),
        (4, "1", ["log.retention.ms", "log.roll.ms"], "message.max.bytes", .invalidRequest),
        (16, "m", ["metrics", "match"], "interval.ms", .invalidConfig),
        (32, "g", ["consumer.heartbeat.interval.ms", "a"], "consumer.session.timeout.ms", .invalidConfig),
    ] as [(Int8, String, [String], String, KafkaErrorCode)])
    func oneBadKeyOfThreeChangesNothing(
        type: Int8, name: String, good: [String], bad: String, expected: KafkaErrorCode
    ) throws {
        _ = try test.makeTopic("t")
        let before = try calls.describe(type, name).configs
        let resource = ConfigurationCalls.resource(
            type, name, good.map { ($0, Operation.set, $0 == "match" ? "client_id=a" : "9000") } + [(bad, Operation.set, "many")])
        #expect(try calls.change([resource]) == [expected])
        #expect(try calls.describe(type, name).configs == before)
    }

    @Test func resourcesOfOneRequestStandForThemselves() throws {
        _ = try test.makeTopic("t")
        let good = ConfigurationCalls.resource(Types.topic, "t", [("retention.ms", Operation.set, "5")])
        let bad = ConfigurationCalls.resource(Types.topic, "nothing", [("retention.ms", Operation.set, "5")])
        let group = ConfigurationCalls.resource(Types.group, "g", [("consumer.session.timeout.ms", Operation.set, "46000")])
        #expect(try calls.change([bad, good, group]) == [.unknownTopicOrPartition, .none, .none])
        #expect(try calls.value(Types.topic, "t", "retention.ms")?.value == "5")
    }

    @Test func whatIsNamedTwiceOrHasNoValueIsRefused() throws {
        _ = try test.makeTopic("t")
        typealias Calls = ConfigurationCalls
        let twice = Calls.resource(Types.topic, "t", [("retention.ms", Operation.set, "5"), ("retention.ms", Operation.delete, nil)])
        #expect(try calls.change([twice]) == [.invalidRequest])
        let one = Calls.resource(Types.topic, "t", [("retention.ms", Operation.set, "5")])
        #expect(try calls.change([one, one]) == [.invalidRequest, .invalidRequest])
        for operation in [Operation.set, Operation.append, Operation.subtract] {
            let null = Calls.resource(Types.topic, "t", [("cleanup.policy", operation, nil)])
            #expect(try calls.change([null]) == [.invalidRequest])
        }
        let strange = Calls.resource(Types.topic, "t", [("retention.ms", 9, "5")])
        #expect(try calls.change([strange]) == [.invalidRequest])
        #expect(try calls.replace(Types.topic, "t", [("retention.ms", nil)]) == .invalidRequest)
        #expect(try calls.replace(Types.topic, "t", [("retention.ms", "1"), ("retention.ms", "2")]) == .invalidRequest)
        #expect(test.engine.topics.topic(named: "t")?.configuration.overrides.isEmpty == true)
        // Nothing to do, and nothing to delete, is no error.
        #expect(try calls.change([Calls.resource(Types.topic, "t", [])]) == [.none])
        #expect(try calls.change([Calls.resource(Types.topic, "t", [("retention.ms", Operation.delete, nil)])]) == [.none])
    }

    @Test(arguments: [
        (2, "t", "retention.ms", "5"), (4, "1", "log.retention.ms", "5"), (4, "", "log.retention.ms", "5"),
        (16, "m", "metrics", "a"), (32, "g", "consumer.session.timeout.ms", "50000"),
    ] as [(Int8, String, String, String)])
    func onlyValidatingChangesNothing(type: Int8, name: String, key: String, value: String) throws {
        _ = try test.makeTopic("t")
        let before = try calls.describe(type, name).configs
        let good = ConfigurationCalls.resource(type, name, [(key, Operation.set, value)])
        #expect(try calls.change([good], validateOnly: true) == [.none])
        #expect(try calls.replace(type, name, [(key, value)], validateOnly: true) == .none)
        let bad = ConfigurationCalls.resource(type, name, [("nothing", Operation.set, value)])
        #expect(try calls.change([bad], validateOnly: true) != [.none])
        #expect(try calls.describe(type, name).configs == before)
        #expect(try calls.change([good]) == [.none])
        #expect(try calls.describe(type, name).configs != before)
    }

    @Test(arguments: [0, 1, 2] as [Int16])
    func alterConfigsReplacesEverything(version: Int16) throws {
        _ = try test.makeTopic("t", overrides: ["retention.ms": "5", "segment.ms": "6"])
        #expect(try calls.replace(Types.topic, "t", [("retention.ms", "7")], version: version) == .none)
        #expect(test.engine.topics.topic(named: "t")?.configuration.overrides == ["retention.ms": "7"])
        #expect(try calls.replace(Types.topic, "t", [("retention.ms", "8"), ("no", "9")], version: version) == .invalidConfig)
        #expect(try calls.replace(Types.topic, "nothing", [], version: version) == .unknownTopicOrPartition)
        #expect(try calls.replace(Types.topic, "", [], version: version) == .invalidRequest)
        #expect(test.engine.topics.topic(named: "t")?.configuration.overrides == ["retention.ms": "7"])
        #expect(try calls.replace(Types.topic, "t", [], version: version) == .none)
        #expect(test.engine.topics.topic(named: "t")?.configuration.overrides.isEmpty == true)
    }

    @Test func theBrokersOwnTopicsCannotBeChanged() throws {
        let own = test.engine.topics.create(
            TopicSpecification(name: "__consumer_offsets", partitions: 1, isInternal: true), on: test.loop)
        test.sync()
        _ = try own.wait()
        #expect(try calls.set(Types.topic, "__consumer_offsets", "retention.ms", "1") == .policyViolation)
    }

    @Test func everythingIsThereAfterARestart() throws {
        let files = MemoryFileSystem()
        do {
            let test = try TestEngine(fileSystem: files)
            let calls = ConfigurationCalls(connection: try TestConnection(test))
            _ = try test.makeTopic("t")
            #expect(try calls.set(Types.broker, "", "log.retention.ms", "5") == .none)
            #expect(try calls.set(Types.clientMetrics, "m", "metrics", "a") == .none)
            try test.engine.shutDown()
        }
        let calls = ConfigurationCalls(connection: try TestConnection(try TestEngine(fileSystem: files)))
        #expect(try calls.value(Types.topic, "t", "retention.ms")?.configSource == Source.dynamicDefaultBroker)
        #expect(try calls.value(Types.clientMetrics, "m", "metrics")?.value == "a")
    }

    // MARK: Listing

    @Test func resourcesAreListedByType() throws {
        func list(_ types: [Int8], version: Int16) throws -> ListConfigResourcesResponse {
            var request = ListConfigResourcesRequest()
            request.resourceTypes = types
            return try calls.connection.call(request, version: version)
        }
        _ = try test.makeTopic("t")
        #expect(try calls.set(Types.clientMetrics, "m", "metrics", "a") == .none)
        #expect(try calls.set(Types.group, "g", "consumer.session.timeout.ms", "50000") == .none)
        #expect(try list([], version: 0).configResources.map(\.resourceName) == ["m"])
        let all = try list([], version: 1).configResources
        #expect(all.map { "\($0.resourceType) \($0.resourceName)" } == ["2 t", "4 1", "8 1", "16 m", "32 g"])
        #expect(try list([32, 2, 32], version: 1).configResources.map(\.resourceName) == ["t", "g"])
        #expect(try list([7], version: 1).errorCode == .unsupportedVersion)
    }
}
