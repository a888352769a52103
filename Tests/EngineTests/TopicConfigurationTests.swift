// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: topic names and configuration keys.

import Testing

@testable import Engine

@Suite struct TopicConfigurationTests {
    @Test func everyDefaultPassesItsOwnCheck() {
        for key in TopicConfigurationKey.all {
            #expect(key.problem(key.defaultValue) == nil, "\(key.name)")
        }
    }

    @Test func everyKeyReachesTheParsedValues() throws {
        let configuration = try TopicConfiguration(overrides: [
            "segment.bytes": "1000", "segment.ms": "2000", "index.interval.bytes": "3", "retention.ms": "4",
            "retention.bytes": "5", "max.message.bytes": "6", "message.timestamp.type": "LogAppendTime",
            "message.timestamp.before.max.ms": "7", "message.timestamp.after.max.ms": "8",
        ])
        #expect(configuration.log.segmentBytes == 1000)
        #expect(configuration.log.segmentMs == 2000)
        #expect(configuration.log.indexIntervalBytes == 3)
        #expect(configuration.log.retentionMs == 4)
        #expect(configuration.log.retentionBytes == 5)
        #expect(configuration.rules.maxMessageBytes == 6)
        #expect(configuration.rules.isLogAppendTime)
        #expect(configuration.rules.timestampBeforeMaxMs == 7)
        #expect(configuration.rules.timestampAfterMaxMs == 8)
    }

    @Test func topicValuesWinOverTheBrokersAndThoseOverKafkas() throws {
        let key = try #require(TopicConfigurationKey.named["retention.ms"])
        #expect(try TopicConfiguration(overrides: [:]).value(of: key) == "604800000")
        #expect(try TopicConfiguration(overrides: [:], defaults: ["retention.ms": "5"]).value(of: key) == "5")
        #expect(
            try TopicConfiguration(overrides: ["retention.ms": "6"], defaults: ["retention.ms": "5"]).value(of: key)
                == "6")
    }

    @Test(arguments: [
        ("retention.mss", "1"), ("retention.ms", "soon"), ("retention.ms", "-2"), ("cleanup.policy", "compact"),
        ("min.insync.replicas", "2"), ("segment.bytes", "1"), ("message.timestamp.type", "createtime"),
    ])
    func aBadKeyOrValueIsRefusedByName(_ name: String, _ value: String) {
        #expect {
            try TopicConfiguration(overrides: [name: value])
        } throws: { error in
            guard let error = error as? EngineError else { return false }
            return error.code == .invalidConfiguration && error.message.contains(name)
        }
    }

    @Test(arguments: ["", ".", "..", "a/b", "über", "a b", String(repeating: "x", count: 250)])
    func aNameThatKafkaRefusesIsRefused(_ name: String) {
        #expect(topicNameProblem(name) != nil)
    }

    @Test(arguments: ["a", "A.b_c-9", "...", String(repeating: "x", count: 249)])
    func aNameThatKafkaTakesIsTaken(_ name: String) {
        #expect(topicNameProblem(name) == nil)
    }
}
