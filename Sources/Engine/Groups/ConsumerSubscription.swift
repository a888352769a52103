// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: reads the topics out of what a consumer puts in JoinGroup.
//
// Members' metadata is opaque to the group, but for consumers it begins, in every version, like version 0 of
// Kafka's ConsumerProtocolSubscription: version int16, topics [string]. That prefix is all that is read here,
// to know which offsets are in use. Bytes are the peer's: anything odd gives nil.

import NIOCore

enum ConsumerSubscription {
    /// The protocol type whose members' metadata has this form.
    static let protocolType = "consumer"

    static func topics(in metadata: ByteBuffer) -> [String]? {
        var bytes = metadata
        guard let version = bytes.readInteger(as: Int16.self), version >= 0,
            let count = bytes.readInteger(as: Int32.self), count >= 0,
            // Each topic takes two bytes at least, so this bounds the allocation.
            Int(count) <= bytes.readableBytes / 2
        else { return nil }
        var topics: [String] = []
        topics.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let length = bytes.readInteger(as: Int16.self), length >= 0,
                let topic = bytes.readString(length: Int(length))
            else { return nil }
            topics.append(topic)
        }
        return topics
    }
}
