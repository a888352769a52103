// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a pattern that a client's name or version is held against (client metrics, `match`).
//
// The usual regular expressions, matched against the whole text: literals, `.`, `*`, `+`, `?`, `|`, groups, sets such as
// `[a-z_]` and `[^.]`, `\d`, `\w`, `\s` and `\` before a sign. Steps through all possibilities at once, so that no pattern
// takes more than its length times the text's. An anchor at either end says what is true anyway. What Java's patterns have besides (counts, look-around, back references)
// is refused.

package struct ClientPattern: Sendable, Equatable {
    private enum Step: Sendable, Equatable {
        /// One character; `negated`: one that is not in the set.
        case character(Set<UInt8>, negated: Bool)
        /// Goes on at both, given from here.
        case fork(Int, Int)
        case jump(Int)
    }

    private var steps: [Step] = []

    /// nil if it is no such pattern, or longer than the bound.
    package init?(_ text: String) {
        guard !text.isEmpty, text.utf8.count <= Limits.clientPatternBytes else { return nil }
        var bytes = Array(text.utf8)[...]
        if bytes.first == UInt8(ascii: "^") { bytes.removeFirst() }
        if bytes.last == UInt8(ascii: "$"), bytes.dropLast().last != UInt8(ascii: "\\") { bytes.removeLast() }
        var parser = Parser(rest: bytes)
        guard let steps = parser.alternatives(depth: 0), parser.rest.isEmpty else { return nil }
        self.steps = steps
    }

    /// Whether all of `text` fits.
    package func matches(_ text: String) -> Bool {
        guard text.utf8.count <= Limits.clientPatternTextBytes else { return false }
        var current = closure([0])
        for byte in text.utf8 {
            var next: Set<Int> = []
            for at in current where at < steps.count {
                if case .character(let set, let negated) = steps[at], set.contains(byte) != negated { next.insert(at + 1) }
            }
            if next.isEmpty { return false }
            current = closure(next)
        }
        return current.contains(steps.count)
    }

    /// Everything that is reached without taking a character.
    private func closure(_ start: Set<Int>) -> Set<Int> {
        var seen = start
        var open = Array(start)
        while let at = open.popLast() {
            guard at < steps.count else { continue }
            let next: [Int]
            switch steps[at] {
            case .character: next = []
            case .jump(let by): next = [at + by]
            case .fork(let one, let other): next = [at + one, at + other]
            }
            for step in next where seen.insert(step).inserted { open.append(step) }
        }
        return seen
    }

    /// Recursive descent; every part gives steps whose jumps are relative, so that parts can be put together.
    private struct Parser {
        var rest: ArraySlice<UInt8>

        private static let groupsMax = 20
        private static let digits = Set(UInt8(ascii: "0")...UInt8(ascii: "9"))
        private static let words = digits.union(UInt8(ascii: "a")...UInt8(ascii: "z"))
            .union(UInt8(ascii: "A")...UInt8(ascii: "Z")).union([UInt8(ascii: "_")])
        private static let spaces = Set(" \t\n\r\u{0b}\u{0c}".utf8)

        mutating func take(_ character: Character) -> Bool {
            guard rest.first == character.asciiValue else { return false }
            rest.removeFirst()
            return true
        }

        mutating func alternatives(depth: Int) -> [Step]? {
            guard depth <= Self.groupsMax, var steps = sequence(depth: depth) else { return nil }
            while take("|") {
                guard let other = sequence(depth: depth) else { return nil }
                steps = [.fork(1, steps.count + 2)] + steps + [.jump(other.count + 1)] + other
            }
            return steps
        }

        mutating func sequence(depth: Int) -> [Step]? {
            var steps: [Step] = []
            while let next = rest.first, next != UInt8(ascii: "|"), next != UInt8(ascii: ")") {
                guard let part = atom(depth: depth) else { return nil }
                steps += repeated(part)
            }
            return steps
        }

        mutating func repeated(_ part: [Step]) -> [Step] {
            if take("*") { return [.fork(1, part.count + 2)] + part + [.jump(-part.count - 1)] }
            if take("+") { return part + [.fork(-part.count, 1)] }
            if take("?") { return [.fork(1, part.count + 1)] + part }
            return part
        }

        mutating func atom(depth: Int) -> [Step]? {
            guard let first = rest.popFirst() else { return nil }
            switch first {
            case UInt8(ascii: "("):
                guard rest.first != UInt8(ascii: "?"), let inner = alternatives(depth: depth + 1), take(")") else { return nil }
                return inner
            case UInt8(ascii: "["): return set()
            case UInt8(ascii: "."): return [.character([UInt8(ascii: "\n")], negated: true)]
            case UInt8(ascii: "\\"): return escaped()
            case UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "?"), UInt8(ascii: "{"), UInt8(ascii: "^"),
                UInt8(ascii: "$"):
                return nil
            default: return [.character([first], negated: false)]
            }
        }

        mutating func escaped() -> [Step]? {
            guard let sign = rest.popFirst() else { return nil }
            switch sign {
            case UInt8(ascii: "d"): return [.character(Self.digits, negated: false)]
            case UInt8(ascii: "D"): return [.character(Self.digits, negated: true)]
            case UInt8(ascii: "w"): return [.character(Self.words, negated: false)]
            case UInt8(ascii: "W"): return [.character(Self.words, negated: true)]
            case UInt8(ascii: "s"): return [.character(Self.spaces, negated: false)]
            case UInt8(ascii: "S"): return [.character(Self.spaces, negated: true)]
            case let letter where Self.words.contains(letter): return nil
            default: return [.character([sign], negated: false)]
            }
        }

        mutating func set() -> [Step]? {
            let negated = take("^")
            var members: Set<UInt8> = []
            while let first = rest.popFirst(), first != UInt8(ascii: "]") || members.isEmpty {
                var low = first
                if first == UInt8(ascii: "\\") {
                    guard case .character(let inner, negated: false)? = escaped()?.first else { return nil }
                    guard inner.count == 1, let only = inner.first else {
                        members.formUnion(inner)
                        if rest.isEmpty { return nil }
                        continue
                    }
                    low = only
                }
                if rest.first == UInt8(ascii: "-"), let high = rest.dropFirst().first, high != UInt8(ascii: "]") {
                    guard low <= high else { return nil }
                    rest.removeFirst(2)
                    members.formUnion(low...high)
                } else {
                    members.insert(low)
                }
                if rest.isEmpty { return nil }
            }
            return members.isEmpty ? nil : [.character(members, negated: negated)]
        }
    }
}
