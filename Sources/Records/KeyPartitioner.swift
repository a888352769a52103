// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: which partition a key belongs to, as Kafka's default partitioner has it.
//
// MurmurHash2 (Austin Appleby, public domain), 32 bits, with Kafka's seed: records of one key land
// in one partition, whichever client or protocol sent them.

import NIOCore

package enum KeyPartitioner {
    /// The partition of a key among `count` of them.
    /// - Precondition: `count > 0`.
    package static func partition(ofKey key: ByteBuffer, count: Int) -> Int32 {
        partition(ofKey: 0..<key.readableBytes, in: key, count: count)
    }

    /// The same for a key that is a part of what can be read of `bytes`.
    package static func partition(ofKey key: Range<Int>, in bytes: ByteBuffer, count: Int) -> Int32 {
        precondition(count > 0, "a topic has a partition")
        // SAFETY: the pointer is used within the closure only; slicing checks the range.
        let hash = unsafe bytes.withUnsafeReadableBytes { unsafe murmur2(UnsafeRawBufferPointer(rebasing: $0[key])) }
        return Int32(Int(hash & 0x7fff_ffff) % count)
    }

    static func murmur2(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        let multiplier: UInt32 = 0x5bd1_e995
        var hash = 0x9747_b28c ^ UInt32(truncatingIfNeeded: bytes.count)
        var position = 0
        while bytes.count - position >= 4 {
            // SAFETY: four bytes are left, checked above.
            var word = unsafe UInt32(
                littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self))
            word = word &* multiplier
            word ^= word >> 24
            hash = (hash &* multiplier) ^ (word &* multiplier)
            position += 4
        }
        let left = bytes.count - position
        if left >= 3 { hash ^= unsafe UInt32(bytes[position + 2]) << 16 }
        if left >= 2 { hash ^= unsafe UInt32(bytes[position + 1]) << 8 }
        if left >= 1 { hash = unsafe (hash ^ UInt32(bytes[position])) &* multiplier }
        hash = (hash ^ (hash >> 13)) &* multiplier
        return hash ^ (hash >> 15)
    }
}
