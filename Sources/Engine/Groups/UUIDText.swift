// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: prints 128 bits the way a UUID is printed (8-4-4-4-12 hexadecimal digits).

enum UUIDText {
    private static let digits = Array("0123456789abcdef".utf8)

    static func text(high: UInt64, low: UInt64) -> String {
        var characters: [UInt8] = []
        characters.reserveCapacity(36)
        for (word, dashes) in [(high, [8, 12]), (low, [0, 4])] {
            for index in 0..<16 {
                if dashes.contains(index) { characters.append(UInt8(ascii: "-")) }
                characters.append(digits[Int((word >> UInt64(60 - 4 * index)) & 15)])
            }
        }
        return String(decoding: characters, as: UTF8.self)
    }
}
