// SPDX-License-Identifier: Apache-2.0
// Martlet, Bytes: the 16-byte topic id of KIP-516, printed as Kafka prints it (URL-safe base64, no padding).

/// A topic's identity: a topic deleted and created again under the same name has another id.
package struct TopicId: Hashable, Sendable, CustomStringConvertible {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// "No id": all zero bits, as on the wire.
    package static let zero = TopicId(high: 0, low: 0)

    /// A random (version 4) id.
    package static func random(using generator: inout some RandomNumberGenerator) -> TopicId {
        let high = UInt64.random(in: .min ... .max, using: &generator)
        let low = UInt64.random(in: .min ... .max, using: &generator)
        return TopicId(high: high, low: low).versioned
    }

    /// A random (version 4) id out of two random words.
    package init(random: () -> UInt64) {
        self = TopicId(high: random(), low: random()).versioned
    }

    private var versioned: TopicId {
        TopicId(
            high: (high & 0xffff_ffff_ffff_0fff) | 0x4000,
            low: (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000)
    }

    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// 22 characters of URL-safe base64.
    package var description: String {
        var bytes: [UInt8] = []
        for word in [high, low] {
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift))) }
        }
        var characters: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for byte in bytes {
            bits = (bits << 8) | UInt32(byte)
            count += 8
            while count >= 6 {
                count -= 6
                characters.append(Self.alphabet[Int((bits >> UInt32(count)) & 63)])
            }
        }
        characters.append(Self.alphabet[Int((bits << UInt32(6 - count)) & 63)])
        return String(decoding: characters, as: UTF8.self)
    }

    /// Reads what `description` printed; nil if it is no 22-character id.
    package init?(_ text: String) {
        let characters = Array(text.utf8)
        guard characters.count == 22 else { return nil }
        var words: [UInt64] = [0, 0]
        var taken = 0
        for character in characters {
            guard let value = Self.alphabet.firstIndex(of: character) else { return nil }
            for bit in stride(from: 5, through: 0, by: -1) where taken < 128 {
                words[taken / 64] = (words[taken / 64] << 1) | UInt64((value >> bit) & 1)
                taken += 1
            }
        }
        high = words[0]
        low = words[1]
    }
}
