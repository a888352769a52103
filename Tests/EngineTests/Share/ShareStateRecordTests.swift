// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the records of `__share_group_state`.

import Bytes
import NIOCore
import Storage
import Testing

@testable import Engine

@Suite("Records of share groups")
struct ShareStateRecordTests {
    private let key = ShareKey(groupId: "g", topicId: TopicId(high: 1, low: 2), partition: 3)

    private func read(_ record: KeyedRecord) -> ShareStateRecord {
        ShareStateRecord(key: ByteBuffer(bytes: record.key), value: record.value.map { ByteBuffer(bytes: $0) })
    }

    /// Kafka's layout, field by field (ShareUpdateKey 1, ShareUpdateValue 0 of Kafka 4.2).
    @Test func anUpdateIsKafkas() {
        var state = SharePartition(startOffset: 7)
        _ = state.acquire(
            [ShareBatch(first: 7, last: 9)], from: 7, maxRecords: 3, isStrict: true, member: ShareMemberId("m"), nowMs: 0,
            wallMs: 0, rules: SharePartition.Rules())
        let record = ShareStateRecord.update(key, state, changes: state.runs)
        var expected = ByteBuffer()
        expected.writeInteger(Int16(1))
        expected.writeInteger(Int16(1))
        expected.writeString("g")
        expected.writeInteger(UInt64(1))
        expected.writeInteger(UInt64(2))
        expected.writeInteger(Int32(3))
        #expect(record.key == Array(expected.readableBytesView))
        expected.clear()
        expected.writeInteger(Int16(0))
        expected.writeInteger(Int32(0))  // snapshot epoch
        expected.writeInteger(Int32(0))  // leader epoch
        expected.writeInteger(Int64(7))  // start offset
        expected.writeBytes([2])  // one batch
        expected.writeInteger(Int64(7))
        expected.writeInteger(Int64(9))
        expected.writeInteger(Int8(0))  // acquired is written as available
        expected.writeInteger(Int16(1))
        expected.writeBytes([0])  // no tags
        expected.writeBytes([1, 0, 4])  // tag 0 of four bytes: delivery complete count
        expected.writeInteger(Int32(0))
        #expect(record.value == Array(expected.readableBytesView))
    }

    @Test func everyKindIsReadAsItWasWritten() {
        var run = SharePartition.Run(first: 5, last: 8, state: .available, deliveryCount: 2)
        run.notBeforeMs = 1_700_000_000_123
        var state = SharePartition(startOffset: 0)
        state.restore(startOffset: 5, [run, SharePartition.Run(first: 9, last: 9, state: .archived)])
        #expect(
            read(ShareStateRecord.snapshot(key, state, nowMs: 1)) == .snapshot(key, startOffset: 5, state.runs))
        #expect(read(ShareStateRecord.update(key, state, changes: [run])) == .update(key, startOffset: 5, [run]))
        #expect(read((ShareStateRecord.key(key, isUpdate: false), nil)) == .forgotten(key))
    }

    @Test func damagedRecordsAreMalformedAndNeverMore() {
        var state = SharePartition(startOffset: 0)
        state.restore(startOffset: 0, [SharePartition.Run(first: 2, last: 4, state: .acknowledged, deliveryCount: 1)])
        let whole = ShareStateRecord.snapshot(key, state, nowMs: 1)
        for length in 0..<whole.key.count { #expect(read((Array(whole.key[..<length]), whole.value)) == .malformed) }
        var generator = Storage.SeededGenerator(seed: 1)
        for _ in 0..<5_000 {
            var value = whole.value ?? []
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                value[Int.random(in: 0..<value.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            let cut = Array(value[..<Int.random(in: 0...value.count, using: &generator)])
            if case .snapshot(_, let start, let runs) = read((whole.key, cut)) {
                var restored = SharePartition(startOffset: start)
                restored.restore(startOffset: start, runs)
                #expect(restored.runs.allSatisfy { $0.first <= $0.last })
            }
        }
    }
}

@Suite struct ShareSettingsTests {
    @Test(arguments: [
        ("P1D", 86_400_000), ("PT1H", 3_600_000), ("P1DT2H3M4.5S", 93_784_500), ("PT0.25S", 250),
    ] as [(String, Int64)])
    func durationsAreISO8601(text: String, ms: Int64) {
        #expect(ShareGroupSettings.OffsetReset("by_duration:\(text)") == .byDuration(ms: ms))
    }

    @Test(arguments: ["by_duration:", "by_duration:P", "by_duration:1D", "by_duration:-PT1S", "by_duration:PT5", "never"])
    func whatIsNoResetIsRefused(text: String) {
        #expect(ShareGroupSettings.OffsetReset(text) == nil)
    }

    @Test func unknownKeysAndBadValuesAreRefusedByName() throws {
        let broker = ShareConfiguration()
        for (name, value) in [
            ("share.record.lock.duration.ms", "1"), ("share.delivery.count.limit", "11"), ("no.such.key", "1"),
            ("share.isolation.level", "serializable"), ("errors.deadletterqueue.topic.name", "elsewhere"),
            ("share.partition.max.record.locks", "99"),
        ] {
            #expect(throws: EngineError(.invalidConfiguration, "")) { try ShareGroupSettings([name: value], broker) }
        }
        let settings = try ShareGroupSettings(
            ["errors.deadletterqueue.topic.name": "dlq.x", "share.isolation.level": "read_committed"], broker)
        #expect(settings.rules.hasDeadLetters && settings.isReadCommitted)
    }
}
