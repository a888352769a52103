// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the records of the internal metadata log.

import Bytes
import NIOCore
import Testing

@testable import Engine

@Suite struct MetadataRecordTests {
    private static let records: [MetadataRecord] = [
        .topic(
            MetadataRecord.TopicRecord(
                name: "orders", id: TopicId(high: 1, low: 2), partitions: 12, isInternal: false,
                overrides: ["retention.ms": "1000", "segment.bytes": "4096"])),
        .topicDeleted(name: "orders"),
        .producerIds(next: 123_456),
        .configuration(ConfigurationResource(.broker, ""), overrides: ["log.retention.ms": "1"]),
        .configuration(ConfigurationResource(.group, "g"), overrides: ["consumer.session.timeout.ms": "45000", "b": ""]),
        .configuration(ConfigurationResource(.clientMetrics, "all"), overrides: [:]),
        .quota(QuotaChange(QuotaEntity(user: .named("alice"), clientId: .others), .requestPercentage, 12.5)),
        .quota(QuotaChange(QuotaEntity(ip: .named("::1")), .connectionCreationRate, nil)),
    ]

    @Test(arguments: records) func aRecordReadsWhatItWrote(_ record: MetadataRecord) {
        let (key, value) = record.encoded()
        #expect(MetadataRecord(key: ByteBuffer(bytes: key), value: value.map { ByteBuffer(bytes: $0) }) == record)
    }

    @Test(arguments: records) func aRecordCutShortIsRefused(_ record: MetadataRecord) {
        let (key, value) = record.encoded()
        for length in 0..<(value?.count ?? 0) {
            let cut = ByteBuffer(bytes: value?.prefix(length) ?? [])
            #expect(MetadataRecord(key: ByteBuffer(bytes: key), value: cut) == nil)
        }
    }

    @Test func anUnknownKindIsRefused() {
        #expect(MetadataRecord(key: ByteBuffer(bytes: [99]), value: ByteBuffer()) == nil)
        #expect(MetadataRecord(key: ByteBuffer(), value: ByteBuffer()) == nil)
    }
}
