// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: a pattern of topic names: `*` is any run of characters, `?` is one, all else is itself.
//
// Matching goes back to the last star only, so it takes at most the product of both lengths, which are those of topic names.

struct TopicGlob: Sendable {
    private let pattern: [UInt8]

    /// nil: it has characters that no topic's name has, or is too long.
    init?(_ text: String) {
        guard (1...249).contains(text.utf8.count) else { return nil }
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"),
                UInt8(ascii: "*"), UInt8(ascii: "?"):
                continue
            default:
                return nil
            }
        }
        pattern = Array(text.utf8)
    }

    func matches(_ name: String) -> Bool {
        let name = Array(name.utf8)
        var at = 0
        var position = 0
        var star: (at: Int, position: Int)?
        while position < name.count {
            if at < pattern.count, pattern[at] == UInt8(ascii: "*") {
                star = (at, position)
                at += 1
            } else if at < pattern.count, pattern[at] == UInt8(ascii: "?") || pattern[at] == name[position] {
                at += 1
                position += 1
            } else if let last = star {
                star = (last.at, last.position + 1)
                at = last.at + 1
                position = last.position + 1
            } else {
                return false
            }
        }
        return pattern[at...].allSatisfy { $0 == UInt8(ascii: "*") }
    }
}
