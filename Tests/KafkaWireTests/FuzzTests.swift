// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: random and damaged bytes never trap, and never make a message that holds
// memory out of proportion to them. Seeded: a failure comes back with the same seed.

import NIOCore
import Testing

@testable import KafkaWire

/// SplitMix64: small, seeded, good enough to vary bytes.
private struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

@Suite struct FuzzTests {
    /// Bytes that look like lengths more often than chance would have it.
    private func randomBytes(_ generator: inout SeededGenerator) -> ByteBuffer {
        let count = Int.random(in: 0...200, using: &generator)
        let small = Bool.random(using: &generator)
        return ByteBuffer(
            bytes: (0..<count).map { _ in
                small && Int.random(in: 0..<4, using: &generator) > 0
                    ? UInt8.random(in: 0...3, using: &generator)
                    : UInt8.random(in: 0...255, using: &generator)
            })
    }

    private func damaged(_ bytes: ByteBuffer, _ generator: inout SeededGenerator) -> ByteBuffer {
        var buffer = bytes
        for _ in 0...Int.random(in: 0..<4, using: &generator) where buffer.readableBytes > 0 {
            let position = Int.random(in: 0..<buffer.readableBytes, using: &generator)
            let byte = [0, 1, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255, using: &generator)]
                .randomElement(using: &generator) ?? 0
            buffer.setInteger(byte, at: buffer.readerIndex + position)
        }
        return buffer
    }

    /// A decoded element takes at most 64 times its bytes: the smallest is an empty string, one
    /// byte on the wire and 16 in memory, and an array may have twice the room it needs.
    private func decodeWithinMeans(
        _ message: CataloguedMessage, _ bytes: ByteBuffer, _ version: Int16
    ) -> Bool {
        do {
            let footprint = try message.footprint(bytes, version)
            #expect(
                footprint <= 64 * bytes.readableBytes + 256,
                "\(message.name) v\(version) holds \(footprint) from \(bytes.readableBytes) bytes")
            return true
        } catch {
            #expect(error is WireError)
            return false
        }
    }

    @Test(arguments: CataloguedMessage.all)
    func randomBytesNeverTrapNorSwell(message: CataloguedMessage) {
        var generator = SeededGenerator(state: UInt64(message.apiKey.rawValue))
        for _ in 0..<60 {
            for version in message.versions {
                _ = decodeWithinMeans(message, randomBytes(&generator), version)
            }
        }
    }

    @Test(arguments: CataloguedMessage.all)
    func damagedMessagesNeverTrapNorSwell(message: CataloguedMessage) throws {
        var generator = SeededGenerator(state: 1000 + UInt64(message.apiKey.rawValue))
        var decoded = 0
        for version in message.versions {
            let bytes = try message.filled(version, .full)
            for _ in 0..<40 {
                let damaged = damaged(bytes, &generator)
                if decodeWithinMeans(message, damaged, version) { decoded += 1 }
            }
        }
        // Otherwise the damage never gets past the first field, and the test tests little.
        #expect(decoded > 0)
    }

    @Test func whatDecodesFromRandomBytesEncodesAndDecodesToItself() throws {
        var generator = SeededGenerator(state: 7)
        for message in CataloguedMessage.all {
            for version in message.versions {
                for _ in 0..<20 {
                    let bytes = randomBytes(&generator)
                    // Repaired text may outgrow a two-byte length; tags may be in any order.
                    guard let (first, _) = try? message.recode(bytes, version, 0) else { continue }
                    let (second, unread) = try message.recode(first, version, 0)
                    #expect(second == first, "\(message.name) v\(version)")
                    #expect(unread == 0)
                }
            }
        }
    }
}
