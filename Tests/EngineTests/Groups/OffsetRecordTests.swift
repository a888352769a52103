// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the records of committed offsets are Kafka's.
//
// The vectors are written out by hand from the public message definitions OffsetCommitKey (0-1) and
// OffsetCommitValue (0-4) of Apache Kafka 4.0.

import NIOCore
import Testing

@testable import Engine

@Suite struct OffsetRecordTests {
    static let key = OffsetKey(groupId: "grp", topic: "orders", partition: 7)
    static let keyBytes: [UInt8] =
        [0, 1, 0, 3] + Array("grp".utf8) + [0, 6] + Array("orders".utf8) + [0, 0, 0, 7]
    /// 1_700_000_000_000.
    static let timestamp: [UInt8] = [0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0]

    @Test func `A key is version 1`() {
        #expect(OffsetRecord.encode(Self.key) == Self.keyBytes)
    }

    @Test func `A value is version 3`() {
        let offset = CommittedOffset(
            offset: 0x0102_0304, leaderEpoch: 5, metadata: "hé", commitTimestampMs: 1_700_000_000_000)
        let bytes: [UInt8] =
            [0, 3, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 5, 0, 3] + Array("hé".utf8) + Self.timestamp
        #expect(OffsetRecord.encode(offset) == bytes)
        #expect(read(bytes) == .committed(Self.key, offset))
    }

    @Test func `A value with an expiry of its own is version 1, which has no leader epoch`() {
        let offset = CommittedOffset(
            offset: 9, leaderEpoch: 5, metadata: "", commitTimestampMs: 1_700_000_000_000, expireTimestampMs: 3)
        let bytes: [UInt8] =
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0] + Self.timestamp + [0, 0, 0, 0, 0, 0, 0, 3]
        #expect(OffsetRecord.encode(offset) == bytes)
        var expected = offset
        expected.leaderEpoch = -1
        #expect(read(bytes) == .committed(Self.key, expected))
    }

    @Test(arguments: [
        (0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0x78] + Self.timestamp),
        (1, [0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0x78] + Self.timestamp + [UInt8](repeating: 0xff, count: 8)),
        (2, [0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0x78] + Self.timestamp),
        (3, [0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0, 1, 0x78] + Self.timestamp),
        (4, [0, 4, 0, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 2, 0x78] + Self.timestamp + [0]),
    ] as [(Int, [UInt8])]) func `Every version of a value can be read`(version: Int, bytes: [UInt8]) {
        let offset = CommittedOffset(offset: 9, metadata: "x", commitTimestampMs: 1_700_000_000_000)
        #expect(read(bytes) == .committed(Self.key, offset))
    }

    @Test func `A key of version 0 reads like one of version 1`() {
        var key = Self.keyBytes
        key[1] = 0
        #expect(OffsetRecord(key: ByteBuffer(bytes: key), value: nil) == .deleted(Self.key))
    }

    @Test func `No value deletes the key`() {
        #expect(OffsetRecord(key: ByteBuffer(bytes: Self.keyBytes), value: nil) == .deleted(Self.key))
    }

    @Test(arguments: [9, 10, 15, 17] as [UInt8]) func `Records of other kinds are skipped`(version: UInt8) {
        let key = ByteBuffer(bytes: [0, version, 0, 3] + Array("grp".utf8))
        #expect(OffsetRecord(key: key, value: ByteBuffer(bytes: [1, 2])) == .other(keyVersion: Int16(version)))
    }

    @Test func `A record that is cut anywhere, or has an odd version, is malformed`() {
        let value = OffsetRecord.encode(
            CommittedOffset(offset: 1, leaderEpoch: 2, metadata: "abc", commitTimestampMs: 3))
        for length in 0..<Self.keyBytes.count {
            let key = ByteBuffer(bytes: Self.keyBytes.prefix(length))
            #expect(OffsetRecord(key: key, value: ByteBuffer(bytes: value)) == .malformed)
        }
        for length in 0..<value.count { #expect(read(Array(value.prefix(length))) == .malformed) }
        for version: UInt8 in [5, 0x80, 0xff] { #expect(read([0, version] + value.dropFirst(2)) == .malformed) }
        #expect(OffsetRecord(key: ByteBuffer(bytes: [0xff, 0xff]), value: nil) == .malformed)
        #expect(OffsetRecord(key: ByteBuffer(bytes: Self.keyBytes + [0]), value: nil) == .malformed)
    }

    @Test(arguments: [
        [0], [0xff, 0xff, 0xff, 0xff, 0x7f], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [9, 0x78],
    ] as [[UInt8]]) func `A compact string of an impossible length is malformed`(length: [UInt8]) {
        #expect(read([0, 4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0] + length) == .malformed)
    }

    private func read(_ value: [UInt8]) -> OffsetRecord {
        OffsetRecord(key: ByteBuffer(bytes: Self.keyBytes), value: ByteBuffer(bytes: value))
    }
}
