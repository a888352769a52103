// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: where a subscription stands, as bytes that a client keeps and gives back.
//
//   version (1) | topics: id (16), name, partitions: number, offset | CRC-32C of all before (4)
//
// Counts, lengths, numbers and offsets are varints. A token says where to go on and grants nothing: whoever gives it back is
// authorised like everybody else. The checksum finds tokens that were cut or mixed up, not ones that were forged.

import Bytes
import NIOCore

package struct ResumeToken: Equatable, Sendable {
    package struct Topic: Equatable, Sendable {
        package var id: TopicId
        package var name: String
        package var offsets: [Int32: Int64]

        package init(id: TopicId, name: String, offsets: [Int32: Int64] = [:]) {
            self.id = id
            self.name = name
            self.offsets = offsets
        }
    }

    package var topics: [Topic]

    package init(topics: [Topic]) {
        self.topics = topics
    }

    /// Partitions in one token; more: it is none.
    package static let partitionsMax = 10_000
    private static let version: UInt8 = 1

    package var bytes: ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeInteger(Self.version)
        bytes.writeProtobufVarint(UInt64(topics.count))
        for topic in topics {
            bytes.writeInteger(topic.id.high)
            bytes.writeInteger(topic.id.low)
            bytes.writeProtobufVarint(UInt64(topic.name.utf8.count))
            bytes.writeString(topic.name)
            bytes.writeProtobufVarint(UInt64(topic.offsets.count))
            for (partition, offset) in topic.offsets.sorted(by: { $0.key < $1.key }) {
                bytes.writeProtobufVarint(UInt64(partition))
                bytes.writeProtobufVarint(UInt64(offset))
            }
        }
        bytes.writeInteger(Self.checksum(bytes))
        return bytes
    }

    /// nil: these bytes are no token.
    package init?(_ bytes: ByteBuffer) {
        var rest = bytes
        guard rest.readableBytes > 5, var body = rest.readSlice(length: rest.readableBytes - 4),
            let checksum = rest.readInteger(as: UInt32.self), checksum == Self.checksum(body),
            body.readInteger(as: UInt8.self) == Self.version, let count = body.readProtobufVarint()
        else { return nil }
        topics = []
        var partitions = 0
        while UInt64(topics.count) < count {
            guard let topic = Self.topic(&body) else { return nil }
            partitions += topic.offsets.count
            guard partitions <= Self.partitionsMax else { return nil }
            topics.append(topic)
        }
        guard body.readableBytes == 0 else { return nil }
    }

    private static func checksum(_ bytes: ByteBuffer) -> UInt32 {
        // SAFETY: the pointer is used within the closure only.
        unsafe bytes.withUnsafeReadableBytes { unsafe crc32c($0) }
    }

    private static func topic(_ body: inout ByteBuffer) -> Topic? {
        guard let high = body.readInteger(as: UInt64.self), let low = body.readInteger(as: UInt64.self),
            let name = body.readProtobufBytes(), let count = body.readProtobufVarint(), count <= UInt64(partitionsMax)
        else { return nil }
        var topic = Topic(id: TopicId(high: high, low: low), name: String(buffer: name))
        for _ in 0..<count {
            guard let partition = body.readProtobufVarint(), partition <= UInt64(Int32.max),
                let offset = body.readProtobufVarint(), offset <= UInt64(Int64.max)
            else { return nil }
            topic.offsets[Int32(partition)] = Int64(offset)
        }
        return topic
    }
}
