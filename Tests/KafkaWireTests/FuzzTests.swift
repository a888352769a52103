// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: random and damaged bytes never trap, and never make a message that holds
// memory out of proportion to them. Seeded: a failure comes back with the same seed.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct FuzzTests {
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
                _ = decodeWithinMeans(message, generator.bytes(), version)
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
                let damaged = generator.damaged(bytes)
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
                    let bytes = generator.bytes()
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
