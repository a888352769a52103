// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: random and damaged bytes that come back with the same seed.

import NIOCore

/// SplitMix64: small, seeded, good enough to vary bytes.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// Bytes that look like lengths more often than chance would have it.
    mutating func bytes() -> ByteBuffer {
        let count = Int.random(in: 0...200, using: &self)
        let small = Bool.random(using: &self)
        return ByteBuffer(
            bytes: (0..<count).map { _ in
                small && Int.random(in: 0..<4, using: &self) > 0
                    ? UInt8.random(in: 0...3, using: &self)
                    : UInt8.random(in: 0...255, using: &self)
            })
    }

    /// `bytes` with one to four of them changed.
    mutating func damaged(_ bytes: ByteBuffer) -> ByteBuffer {
        var buffer = bytes
        for _ in 0...Int.random(in: 0..<4, using: &self) where buffer.readableBytes > 0 {
            let position = Int.random(in: 0..<buffer.readableBytes, using: &self)
            let byte = [0, 1, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255, using: &self)]
                .randomElement(using: &self) ?? 0
            buffer.setInteger(byte, at: buffer.readerIndex + position)
        }
        return buffer
    }
}
