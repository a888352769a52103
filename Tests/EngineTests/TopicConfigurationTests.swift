// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: topic names and configuration keys.

import Records
import Storage
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
            "cleanup.policy": "compact, delete", "delete.retention.ms": "9", "min.compaction.lag.ms": "10",
            "max.compaction.lag.ms": "11", "min.cleanable.dirty.ratio": "0.25", "compression.type": "zstd",
            "compression.zstd.level": "7", "segment.index.bytes": "12", "segment.jitter.ms": "13",
            "file.delete.delay.ms": "14", "flush.messages": "15", "flush.ms": "16",
        ])
        #expect(configuration.log.compacts && configuration.log.deletes && configuration.rules.requiresKeys)
        #expect(configuration.log.deleteRetentionMs == 9)
        #expect(configuration.log.minCompactionLagMs == 10)
        #expect(configuration.log.maxCompactionLagMs == 11)
        #expect(configuration.log.minCleanableDirtyRatio == 0.25)
        #expect(configuration.rules.compression == Compression(.zstd, level: 7))
        #expect(configuration.log.segmentIndexBytes == 12)
        #expect(configuration.log.segmentJitterMs == 13)
        #expect(configuration.log.fileDeleteDelayMs == 14)
        #expect(configuration.flushMessages == 15)
        #expect(configuration.flushMs == 16)
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

    @Test func aTopicThatOnlyCompactsDeletesNothing() throws {
        let configuration = try TopicConfiguration(overrides: ["cleanup.policy": "compact"])
        #expect(configuration.log.compacts && !configuration.log.deletes)
    }

    @Test func lagsThatExcludeEachOtherAreRefused() {
        #expect(throws: EngineError(.invalidConfiguration, "")) {
            try TopicConfiguration(overrides: ["min.compaction.lag.ms": "2", "max.compaction.lag.ms": "1"])
        }
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
        ("retention.mss", "1"), ("retention.ms", "soon"), ("retention.ms", "-2"), ("cleanup.policy", "compacted"),
        ("cleanup.policy", ""), ("cleanup.policy", " , "), ("min.cleanable.dirty.ratio", "1.1"), ("preallocate", "true"),
        ("compression.type", "none"), ("compression.gzip.level", "0"), ("remote.storage.enable", "true"),
        ("message.downconversion.enable", "true"), ("leader.replication.throttled.replicas", "1-2"),
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
