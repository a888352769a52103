// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the records of `__share_group_state`: Kafka's (ShareSnapshot and ShareUpdate of Kafka 4.2).
//
//   key       int16 version = 0 (snapshot) or 1 (update), string group, 16 bytes topic id, int32 partition
//   snapshot  int16 version = 0, int32 snapshot epoch, int32 state epoch, int32 leader epoch, int64 start offset,
//             int64 create timestamp, int64 write timestamp, batches, tags
//   update    int16 version = 0, int32 snapshot epoch, int32 leader epoch, int64 start offset (-1: as before), batches, tags
//   batches   compact array of (int64 first, int64 last, int8 state, int16 delivery count, tags)
//   states    0 available, 2 acknowledged, 3 archiving, 4 archived; what is acquired is written as available
//
// A snapshot replaces what came before it, an update is laid over it, an absent value forgets the partition. Tag 0 of a value is the
// int32 count of records done with from the start on; tag 10000 of a batch is this broker's own, int64 "not before", ms.
// A log can be damaged or come from elsewhere, so reading trusts nothing.

import Bytes
import NIOCore

/// Which state.
package struct ShareKey: Hashable, Comparable, Sendable {
    package var groupId: String
    package var topicId: TopicId
    package var partition: Int32

    package static func < (left: ShareKey, right: ShareKey) -> Bool {
        (left.groupId, left.topicId.high, left.topicId.low, left.partition)
            < (right.groupId, right.topicId.high, right.topicId.low, right.partition)
    }
}

enum ShareStateRecord: Equatable {
    case snapshot(ShareKey, startOffset: Int64, [SharePartition.Run])
    case update(ShareKey, startOffset: Int64, [SharePartition.Run])
    case forgotten(ShareKey)
    case malformed

    private static let notBeforeTag = 10_000

    // MARK: Writing

    static func key(_ key: ShareKey, isUpdate: Bool) -> [UInt8] {
        var bytes = ByteBuffer()
        bytes.writeInteger(Int16(isUpdate ? 1 : 0))
        bytes.writeKafkaString(key.groupId)
        bytes.writeInteger(key.topicId.high)
        bytes.writeInteger(key.topicId.low)
        bytes.writeInteger(key.partition)
        return Array(bytes.readableBytesView)
    }

    static func snapshot(_ key: ShareKey, _ state: SharePartition, nowMs: Int64) -> KeyedRecord {
        var bytes = ByteBuffer()
        bytes.writeInteger(Int16(0))
        bytes.writeInteger(Int32(0))
        bytes.writeInteger(Int32(0))
        bytes.writeInteger(Int32(0))
        bytes.writeInteger(state.startOffset)
        bytes.writeInteger(nowMs)
        bytes.writeInteger(nowMs)
        write(state.runs, doneCount: state.deliveryCompleteCount, into: &bytes)
        return (Self.key(key, isUpdate: false), Array(bytes.readableBytesView))
    }

    static func update(_ key: ShareKey, _ state: SharePartition, changes: [SharePartition.Run]) -> KeyedRecord {
        var bytes = ByteBuffer()
        bytes.writeInteger(Int16(0))
        bytes.writeInteger(Int32(0))
        bytes.writeInteger(Int32(0))
        bytes.writeInteger(state.startOffset)
        write(changes, doneCount: state.deliveryCompleteCount, into: &bytes)
        return (Self.key(key, isUpdate: true), Array(bytes.readableBytesView))
    }

    private static func write(_ runs: [SharePartition.Run], doneCount: Int64, into bytes: inout ByteBuffer) {
        bytes.writeUnsignedVarint(runs.count + 1)
        for run in runs {
            bytes.writeInteger(run.first)
            bytes.writeInteger(run.last)
            bytes.writeInteger(run.state == .acquired ? SharePartition.State.available.rawValue : run.state.rawValue)
            bytes.writeInteger(run.deliveryCount)
            if run.state == .available, run.notBeforeMs > 0 {
                bytes.writeUnsignedVarint(1)
                bytes.writeUnsignedVarint(notBeforeTag)
                bytes.writeUnsignedVarint(8)
                bytes.writeInteger(run.notBeforeMs)
            } else {
                bytes.writeUnsignedVarint(0)
            }
        }
        bytes.writeUnsignedVarint(1)
        bytes.writeUnsignedVarint(0)
        bytes.writeUnsignedVarint(4)
        bytes.writeInteger(Int32(clamping: doneCount))
    }

    // MARK: Reading

    init(key: ByteBuffer, value: ByteBuffer?) {
        var bytes = key
        guard let version = bytes.readInteger(as: Int16.self), let groupId = bytes.readKafkaString() else {
            self = .malformed
            return
        }
        guard version == 0 || version == 1, let high = bytes.readInteger(as: UInt64.self),
            let low = bytes.readInteger(as: UInt64.self), let partition = bytes.readInteger(as: Int32.self),
            partition >= 0
        else {
            self = .malformed
            return
        }
        let key = ShareKey(groupId: groupId, topicId: TopicId(high: high, low: low), partition: partition)
        guard var value else {
            self = .forgotten(key)
            return
        }
        let isUpdate = version == 1
        guard value.readInteger(as: Int16.self) == 0, value.skip(isUpdate ? 8 : 12),
            let start = value.readInteger(as: Int64.self), start >= (isUpdate ? -1 : 0),
            isUpdate || value.skip(16), let runs = Self.readRuns(&value)
        else {
            self = .malformed
            return
        }
        self = isUpdate ? .update(key, startOffset: start, runs) : .snapshot(key, startOffset: start, runs)
    }

    private static func readRuns(_ bytes: inout ByteBuffer) -> [SharePartition.Run]? {
        guard let count = bytes.readUnsignedVarint(), count >= 1, count - 1 <= bytes.readableBytes / 20 else { return nil }
        var runs: [SharePartition.Run] = []
        for _ in 1..<count {
            guard let first = bytes.readInteger(as: Int64.self), let last = bytes.readInteger(as: Int64.self),
                first >= 0, last >= first, last < .max,
                let state = bytes.readInteger(as: Int8.self).flatMap(SharePartition.State.init(rawValue:)),
                let deliveries = bytes.readInteger(as: Int16.self), deliveries >= 0, let tags = bytes.readUnsignedVarint()
            else { return nil }
            var run = SharePartition.Run(
                first: first, last: last, state: state == .acquired ? .available : state, deliveryCount: deliveries)
            for _ in 0..<tags {
                guard let tag = bytes.readUnsignedVarint(), let length = bytes.readUnsignedVarint(),
                    var field = bytes.readSlice(length: length)
                else { return nil }
                if tag == notBeforeTag { run.notBeforeMs = max(0, field.readInteger(as: Int64.self) ?? 0) }
            }
            runs.append(run)
        }
        return runs
    }
}

extension ByteBuffer {
    fileprivate mutating func skip(_ count: Int) -> Bool {
        guard readableBytes >= count else { return false }
        moveReaderIndex(forwardBy: count)
        return true
    }
}
