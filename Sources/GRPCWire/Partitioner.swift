// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: which partition a key belongs to, as Kafka's own producers decide it.
//
// Java's default partitioner takes murmur2 of the key (seed 0x9747b28c) without its sign bit, modulo the number of partitions.
// A record published over gRPC lands beside those that Java wrote with the same key.

import NIOCore

package enum Partitioner {
    package static func partition(forKey key: ByteBuffer, count: Int) -> Int32 {
        Int32(Int(murmur2(key) & 0x7fff_ffff) % max(1, count))
    }

    /// MurmurHash2 (Austin Appleby, public domain), 32 bits, as in Kafka's Utils.
    package static func murmur2(_ key: ByteBuffer) -> UInt32 {
        let multiplier: UInt32 = 0x5bd1_e995
        let count = key.readableBytes
        var hash = 0x9747_b28c ^ UInt32(truncatingIfNeeded: count)
        var position = key.readerIndex
        let end = position + count
        while end - position >= 4, let word = key.getInteger(at: position, endianness: .little, as: UInt32.self) {
            var mixed = word &* multiplier
            mixed ^= mixed >> 24
            hash = (hash &* multiplier) ^ (mixed &* multiplier)
            position += 4
        }
        if position < end {
            for index in 0..<(end - position) {
                let byte = key.getInteger(at: position + index, as: UInt8.self) ?? 0
                hash ^= UInt32(byte) << UInt32(8 * index)
            }
            hash = hash &* multiplier
        }
        hash ^= hash >> 13
        hash = hash &* multiplier
        return hash ^ (hash >> 15)
    }
}
