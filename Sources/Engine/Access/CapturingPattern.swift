// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a regular expression that says what its groups captured, matched in linear time.
//
// The syntax and the program are those of `TopicPattern`. Each place in the program carries where the groups on its
// way began and ended; places are kept in the order in which a backtracking matcher (Java's) would have tried them, so
// the first that matches captures what it would capture. What only backtracking can do (look-around, back references,
// possessive repetition) is refused. Works on bytes: in classes only ASCII can be named.

struct CapturingPattern: Equatable, Sendable {
    /// For each group, from 0 (the whole match): begin and end, -1 where it took no part.
    typealias Match = [Int]

    let groupCount: Int
    let groupNames: [String: Int]
    private let whole: TopicPattern
    private let program: [TopicPattern.Instruction]

    init(_ text: String) throws(TopicPatternError) {
        whole = try TopicPattern(text)
        var parser = TopicPatternParser(text)
        let tree = try parser.parse()
        var compiler = TopicPatternCompiler(captures: true)
        try compiler.emit(tree)
        program = compiler.program + [.match]
        groupCount = parser.groupCount
        groupNames = parser.groupNames
    }

    /// Whether all of `text` matches.
    func matches(_ text: String) -> Bool { whole.matches(text) }

    /// The leftmost match from `start` on; of several there, the one that a backtracking matcher finds first.
    func firstMatch(in bytes: [UInt8], from start: Int) -> Match? {
        let none = Match(repeating: -1, count: 2 * (groupCount + 1))
        var current = Threads(count: program.count)
        var next = Threads(count: program.count)
        var found: Match?
        for position in start...bytes.count {
            if found == nil {
                var match = none
                match[0] = position
                add(0, match, at: position, bytes, to: &current)
            } else if current.list.isEmpty {
                break
            }
            next.removeAll()
            threads: for thread in current.list {
                switch program[thread.place] {
                case .match:
                    found = thread.match
                    found?[1] = position
                    break threads
                case .bytes(let set) where position < bytes.count && set.contains(bytes[position]):
                    add(thread.place + 1, thread.match, at: position + 1, bytes, to: &next)
                default: break
                }
            }
            swap(&current, &next)
        }
        return found
    }

    /// Places in the program, each once, the preferred first.
    private struct Threads {
        private(set) var list: [(place: Int, match: Match)] = []
        private var marks: [Bool]

        init(count: Int) {
            marks = Array(repeating: false, count: count)
        }

        /// Marks the place; false if it was reached before, by a preferred way.
        mutating func visit(_ place: Int) -> Bool {
            defer { marks[place] = true }
            return !marks[place]
        }

        mutating func append(_ place: Int, _ match: Match) {
            list.append((place, match))
        }

        mutating func removeAll() {
            for index in marks.indices { marks[index] = false }
            list.removeAll(keepingCapacity: true)
        }
    }

    /// Adds a place and all that is reached from it without a byte.
    private func add(_ start: Int, _ match: Match, at position: Int, _ bytes: [UInt8], to threads: inout Threads) {
        var waiting = [(place: start, match: match)]
        while let (place, match) = waiting.popLast() {
            guard threads.visit(place) else { continue }
            switch program[place] {
            case .bytes, .match: threads.append(place, match)
            case .jump(let target): waiting.append((target, match))
            case .save(let slot):
                var saved = match
                saved[slot] = position
                waiting.append((place + 1, saved))
            case .split(let first, let second):
                waiting.append((second, match))
                waiting.append((first, match))
            case .assert(let assertion):
                if TopicPattern.holds(assertion, at: position, bytes) { waiting.append((place + 1, match)) }
            }
        }
    }
}
