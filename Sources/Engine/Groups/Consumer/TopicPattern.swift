// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a regular expression over topic names, in RE2's syntax, matched in linear time.
//
// A pattern becomes a program of a few kinds of instructions (Thompson's construction); matching keeps the set of places
// in it that the text so far can have led to, so that each byte costs one pass over the program, whatever the pattern
// is. No captures: only whether a whole name matches is asked. Topic names are ASCII, so it works on bytes. A value,
// safe to use from anywhere.

package struct TopicPattern: Equatable, Sendable {
    /// Longest pattern, in bytes; longer: INVALID_REGULAR_EXPRESSION.
    package static let bytesMax = 4_096
    /// Instructions of one pattern (repetitions are written out); more: INVALID_REGULAR_EXPRESSION.
    package static let instructionsMax = 1_000

    enum Instruction: Equatable, Sendable {
        case bytes(ByteSet)
        case split(Int, Int)
        case jump(Int)
        /// Where a group begins or ends; only in programs of a `CapturingPattern`.
        case save(Int)
        case assert(Assertion)
        case match
    }

    enum Assertion: Equatable, Sendable {
        case textStart
        case textEnd
        case lineStart
        case lineEnd
        case wordBoundary
        case noWordBoundary
    }

    /// A set of bytes.
    struct ByteSet: Equatable, Sendable {
        private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

        static func == (left: ByteSet, right: ByteSet) -> Bool { left.words == right.words }

        init(_ ranges: [ClosedRange<UInt8>] = []) {
            for range in ranges { for byte in range { insert(byte) } }
        }

        func contains(_ byte: UInt8) -> Bool {
            let bit = UInt64(1) << UInt64(byte & 63)
            switch byte >> 6 {
            case 0: return words.0 & bit != 0
            case 1: return words.1 & bit != 0
            case 2: return words.2 & bit != 0
            default: return words.3 & bit != 0
            }
        }

        mutating func insert(_ byte: UInt8) {
            let bit = UInt64(1) << UInt64(byte & 63)
            switch byte >> 6 {
            case 0: words.0 |= bit
            case 1: words.1 |= bit
            case 2: words.2 |= bit
            default: words.3 |= bit
            }
        }

        mutating func formUnion(_ other: ByteSet) {
            words.0 |= other.words.0
            words.1 |= other.words.1
            words.2 |= other.words.2
            words.3 |= other.words.3
        }

        var inverted: ByteSet {
            var set = ByteSet()
            set.words = (~words.0, ~words.1, ~words.2, ~words.3)
            return set
        }

        /// With the other case of every letter.
        var ignoringCase: ByteSet {
            var set = self
            for letter in UInt8(ascii: "a")...UInt8(ascii: "z") {
                if contains(letter) || contains(letter - 32) {
                    set.insert(letter)
                    set.insert(letter - 32)
                }
            }
            return set
        }
    }

    package let text: String
    private let program: [Instruction]

    /// Throws what is wrong with the pattern, for a person.
    package init(_ text: String) throws(TopicPatternError) {
        guard text.utf8.count <= Self.bytesMax else {
            throw TopicPatternError("it is longer than \(Self.bytesMax) bytes")
        }
        var parser = TopicPatternParser(text)
        let tree = try parser.parse()
        var compiler = TopicPatternCompiler()
        try compiler.emit(tree)
        self.text = text
        self.program = compiler.program + [.match]
    }

    // MARK: Match

    /// Whether the pattern matches all of `name`.
    package func matches(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        var current = Places(count: program.count)
        var next = Places(count: program.count)
        add(0, at: 0, bytes, to: &current)
        for (position, byte) in bytes.enumerated() {
            next.removeAll()
            for place in current.list {
                if case .bytes(let set) = program[place], set.contains(byte) {
                    add(place + 1, at: position + 1, bytes, to: &next)
                }
            }
            swap(&current, &next)
            if current.list.isEmpty { return false }
        }
        return current.contains(program.count - 1)
    }

    /// Places in the program, each once.
    private struct Places {
        private(set) var list: [Int] = []
        private var marks: [Bool]

        init(count: Int) {
            marks = Array(repeating: false, count: count)
        }

        func contains(_ place: Int) -> Bool { marks[place] }

        mutating func insert(_ place: Int) -> Bool {
            if marks[place] { return false }
            marks[place] = true
            list.append(place)
            return true
        }

        mutating func removeAll() {
            for place in list { marks[place] = false }
            list.removeAll(keepingCapacity: true)
        }
    }

    /// Adds a place and all that is reached from it without a byte.
    private func add(_ start: Int, at position: Int, _ bytes: [UInt8], to places: inout Places) {
        var waiting = [start]
        while let place = waiting.popLast() {
            guard places.insert(place) else { continue }
            switch program[place] {
            case .bytes, .match: break
            case .jump(let target): waiting.append(target)
            case .save: waiting.append(place + 1)
            case .split(let first, let second):
                waiting.append(second)
                waiting.append(first)
            case .assert(let assertion):
                if Self.holds(assertion, at: position, bytes) { waiting.append(place + 1) }
            }
        }
    }

    static func holds(_ assertion: Assertion, at position: Int, _ bytes: [UInt8]) -> Bool {
        func isWord(_ index: Int) -> Bool {
            bytes.indices.contains(index) && TopicPatternParser.word.contains(bytes[index])
        }
        let newline = UInt8(ascii: "\n")
        return switch assertion {
        case .textStart: position == 0
        case .textEnd: position == bytes.count
        case .lineStart: position == 0 || bytes[position - 1] == newline
        case .lineEnd: position == bytes.count || bytes[position] == newline
        case .wordBoundary: isWord(position - 1) != isWord(position)
        case .noWordBoundary: isWord(position - 1) == isWord(position)
        }
    }
}

/// What is wrong with a pattern.
package struct TopicPatternError: Error, Equatable, Sendable, CustomStringConvertible {
    package var description: String

    init(_ description: String) {
        self.description = description
    }
}
