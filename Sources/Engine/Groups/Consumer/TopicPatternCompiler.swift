// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: makes the program of a topic pattern, bounded in size and in the work it takes.

struct TopicPatternCompiler {
    /// Whether places of groups are written down.
    private let captures: Bool
    private(set) var program: [TopicPattern.Instruction] = []
    private var steps = 0

    init(captures: Bool = false) {
        self.captures = captures
    }

    mutating func emit(_ node: TopicPatternNode) throws(TopicPatternError) {
        steps += 1
        // Steps count too: what is repeated may be empty.
        guard program.count < TopicPattern.instructionsMax, steps < 10 * TopicPattern.instructionsMax else {
            throw TopicPatternError("it is too large when its repetitions are written out")
        }
        switch node {
        case .bytes(let set): program.append(.bytes(set))
        case .assert(let assertion): program.append(.assert(assertion))
        case .sequence(let nodes): for each in nodes { try emit(each) }
        case .choice(let nodes): try emitChoice(nodes)
        case .repeated(let inner, let least, let most, let isLazy): try emitRepeated(inner, least, most, isLazy)
        case .group(let inner, let number):
            if captures { program.append(.save(2 * number)) }
            try emit(inner)
            if captures { program.append(.save(2 * number + 1)) }
        }
    }

    private mutating func emitChoice(_ nodes: [TopicPatternNode]) throws(TopicPatternError) {
        var jumps: [Int] = []
        for node in nodes.dropLast() {
            let split = reserve()
            try emit(node)
            jumps.append(reserve())
            program[split] = .split(split + 1, program.count)
        }
        if let last = nodes.last { try emit(last) }
        for jump in jumps { program[jump] = .jump(program.count) }
    }

    private mutating func emitRepeated(
        _ inner: TopicPatternNode, _ least: Int, _ most: Int?, _ isLazy: Bool
    ) throws(TopicPatternError) {
        for _ in 0..<least { try emit(inner) }
        guard let most else {
            let split = reserve()
            try emit(inner)
            program.append(.jump(split))
            program[split] = Self.choice(split + 1, program.count, isLazy)
            return
        }
        var splits: [Int] = []
        for _ in least..<most {
            splits.append(reserve())
            try emit(inner)
        }
        for split in splits { program[split] = Self.choice(split + 1, program.count, isLazy) }
    }

    /// Which way is tried first tells what groups capture, not what matches.
    private static func choice(_ again: Int, _ onwards: Int, _ isLazy: Bool) -> TopicPattern.Instruction {
        isLazy ? .split(onwards, again) : .split(again, onwards)
    }

    /// A place for an instruction whose target is not known yet.
    private mutating func reserve() -> Int {
        program.append(.jump(0))
        return program.count - 1
    }
}
