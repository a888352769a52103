// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: reads RE2's syntax: what a topic pattern means.
//
// Everything of RE2 that can tell ASCII names apart: classes, groups with names and flags, greedy and lazy repetition
// (the same here), anchors, escapes, \Q…\E. Not in RE2, and refused: look-around, back references, possessive
// repetition. Unicode classes (\p) are refused too. Nesting and repetition are bounded as RE2 bounds them.

indirect enum TopicPatternNode {
    case bytes(TopicPattern.ByteSet)
    case assert(TopicPattern.Assertion)
    case sequence([TopicPatternNode])
    case choice([TopicPatternNode])
    /// `most` nil: without end.
    case repeated(TopicPatternNode, least: Int, most: Int?, isLazy: Bool)
    /// A group that captures; numbered from 1 in the order of their opening.
    case group(TopicPatternNode, Int)
}

struct TopicPatternParser {
    private typealias ByteSet = TopicPattern.ByteSet

    private struct Flags {
        var ignoresCase = false
        var dotMatchesNewline = false
        var isMultiline = false
    }

    private static let depthMax = 200
    private static let repetitionsMax = 1_000

    static let digit = TopicPattern.ByteSet([48...57])
    static let word = TopicPattern.ByteSet([48...57, 65...90, 95...95, 97...122])
    private static let space = ByteSet([9...10, 12...13, 32...32])

    private let bytes: [UInt8]
    private var at = 0
    private var depth = 0
    private var flags = Flags()
    private(set) var groupCount = 0
    /// Numbers of groups with a name.
    private(set) var groupNames: [String: Int] = [:]

    init(_ text: String) {
        bytes = Array(text.utf8)
    }

    mutating func parse() throws(TopicPatternError) -> TopicPatternNode {
        let node = try choice()
        if at < bytes.count { throw TopicPatternError("a `)` has no `(`") }
        return node
    }

    // MARK: Bytes

    private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func take(_ text: StaticString) -> Bool {
        let wanted = Array("\(text)".utf8)
        guard bytes[at...].starts(with: wanted) else { return false }
        at += wanted.count
        return true
    }

    private mutating func takeByte() throws(TopicPatternError) -> UInt8 {
        guard let byte = next else { throw TopicPatternError("it ends in the middle") }
        at += 1
        return byte
    }

    // MARK: Structure

    private mutating func choice() throws(TopicPatternError) -> TopicPatternNode {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthMax else { throw TopicPatternError("it is nested too deeply") }
        var branches = [try sequence()]
        while take("|") { branches.append(try sequence()) }
        return branches.count == 1 ? branches[0] : .choice(branches)
    }

    private mutating func sequence() throws(TopicPatternError) -> TopicPatternNode {
        var nodes: [TopicPatternNode] = []
        while let byte = next, byte != UInt8(ascii: "|"), byte != UInt8(ascii: ")") {
            if take("\\Q") {
                let before = nodes.count
                while at < bytes.count, !take("\\E") { nodes.append(.bytes(literal(try takeByte()))) }
                // What follows repeats the last character.
                if nodes.count > before, let last = nodes.popLast() { nodes.append(try repetition(of: last)) }
                continue
            }
            guard let node = try atom() else { continue }
            nodes.append(try repetition(of: node))
        }
        return nodes.count == 1 ? nodes[0] : .sequence(nodes)
    }

    private mutating func repetition(of atom: TopicPatternNode) throws(TopicPatternError) -> TopicPatternNode {
        guard let (least, most) = try bounds() else { return atom }
        // Lazy or greedy: what matches is the same, what is captured is not.
        let isLazy = take("?")
        if next == UInt8(ascii: "*") || next == UInt8(ascii: "+") || next == UInt8(ascii: "?") {
            throw TopicPatternError("a repetition is repeated")
        }
        if try bounds() != nil { throw TopicPatternError("a repetition is repeated") }
        return .repeated(atom, least: least, most: most, isLazy: isLazy)
    }

    private mutating func bounds() throws(TopicPatternError) -> (Int, Int?)? {
        if take("*") { return (0, nil) }
        if take("+") { return (1, nil) }
        if take("?") { return (0, 1) }
        // A brace that is no repetition is a character.
        let start = at
        guard take("{"), let least = number() else {
            at = start
            return nil
        }
        var most: Int? = least
        if take(",") { most = number() }
        guard take("}") else {
            at = start
            return nil
        }
        guard least <= Self.repetitionsMax, most ?? 0 <= Self.repetitionsMax, most.map({ $0 >= least }) ?? true else {
            throw TopicPatternError("the bounds of a repetition are above \(Self.repetitionsMax), or the wrong way round")
        }
        return (least, most)
    }

    private mutating func number() -> Int? {
        var value: Int?
        while let byte = next, Self.digit.contains(byte), value ?? 0 < 100_000 {
            value = (value ?? 0) * 10 + Int(byte - 48)
            at += 1
        }
        return value
    }

    // MARK: Atoms

    /// nil: something that only changes flags.
    private mutating func atom() throws(TopicPatternError) -> TopicPatternNode? {
        let byte = try takeByte()
        switch byte {
        case UInt8(ascii: "("): return try group()
        case UInt8(ascii: "["): return .bytes(cased(try characterClass()))
        case UInt8(ascii: "."):
            return .bytes(flags.dotMatchesNewline ? ByteSet([0...255]) : ByteSet([10...10]).inverted)
        case UInt8(ascii: "^"): return .assert(flags.isMultiline ? .lineStart : .textStart)
        case UInt8(ascii: "$"): return .assert(flags.isMultiline ? .lineEnd : .textEnd)
        case UInt8(ascii: "\\"): return try escape()
        case UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "?"):
            throw TopicPatternError("a repetition has nothing to repeat")
        default: return .bytes(literal(byte))
        }
    }

    private func literal(_ byte: UInt8) -> TopicPattern.ByteSet { cased(ByteSet([byte...byte])) }

    private func cased(_ set: TopicPattern.ByteSet) -> TopicPattern.ByteSet {
        flags.ignoresCase ? set.ignoringCase : set
    }

    private mutating func group() throws(TopicPatternError) -> TopicPatternNode? {
        let outer = flags
        var number: Int?
        if take("?") {
            if take("P<") || take("<") {
                number = openGroup()
                groupNames[try name()] = number
            } else if try groupFlags() {
                // `(?i)`: from here to the end of the group around it.
                return nil
            }
        } else {
            number = openGroup()
        }
        let inner = try choice()
        guard take(")") else { throw TopicPatternError("a `(` has no `)`") }
        flags = outer
        return number.map { .group(inner, $0) } ?? inner
    }

    private mutating func openGroup() -> Int {
        groupCount += 1
        return groupCount
    }

    private mutating func name() throws(TopicPatternError) -> String {
        let start = at
        while true {
            let byte = try takeByte()
            if byte == UInt8(ascii: ">") { break }
            guard Self.word.contains(byte) else {
                throw TopicPatternError("a group has an odd name, or looks around, which RE2 does not know")
            }
        }
        let name = String(decoding: bytes[start..<at - 1], as: UTF8.self)
        if name.isEmpty { throw TopicPatternError("a group has an empty name") }
        return name
    }

    /// Whether that was all of the group.
    private mutating func groupFlags() throws(TopicPatternError) -> Bool {
        var isOn = true
        while true {
            switch try takeByte() {
            case UInt8(ascii: "i"): flags.ignoresCase = isOn
            case UInt8(ascii: "s"): flags.dotMatchesNewline = isOn
            case UInt8(ascii: "m"): flags.isMultiline = isOn
            case UInt8(ascii: "U"): break
            case UInt8(ascii: "-") where isOn: isOn = false
            case UInt8(ascii: ":"): return false
            case UInt8(ascii: ")"): return true
            default: throw TopicPatternError("a group begins with what RE2 does not know (look-around, say)")
            }
        }
    }

    private mutating func escape() throws(TopicPatternError) -> TopicPatternNode {
        let byte = try takeByte()
        switch byte {
        case UInt8(ascii: "A"): return .assert(.textStart)
        case UInt8(ascii: "z"): return .assert(.textEnd)
        case UInt8(ascii: "b"): return .assert(.wordBoundary)
        case UInt8(ascii: "B"): return .assert(.noWordBoundary)
        case UInt8(ascii: "C"): return .bytes(ByteSet([0...255]))
        default:
            if let set = Self.perlClass(byte) { return .bytes(set) }
            return .bytes(literal(try escapedByte(byte)))
        }
    }

    private static func perlClass(_ byte: UInt8) -> TopicPattern.ByteSet? {
        switch byte {
        case UInt8(ascii: "d"): digit
        case UInt8(ascii: "D"): digit.inverted
        case UInt8(ascii: "w"): word
        case UInt8(ascii: "W"): word.inverted
        case UInt8(ascii: "s"): space
        case UInt8(ascii: "S"): space.inverted
        default: nil
        }
    }

    private mutating func escapedByte(_ byte: UInt8) throws(TopicPatternError) -> UInt8 {
        switch byte {
        case UInt8(ascii: "a"): return 7
        case UInt8(ascii: "f"): return 12
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "v"): return 11
        case UInt8(ascii: "x"): return try hexadecimal()
        default:
            // Letters and digits that mean nothing are refused, as in RE2 (back references, \p, octal).
            if Self.word.contains(byte) && byte != UInt8(ascii: "_") {
                throw TopicPatternError("`\\\(String(UnicodeScalar(byte)))` is not known")
            }
            return byte
        }
    }

    private mutating func hexadecimal() throws(TopicPatternError) -> UInt8 {
        var digits = ""
        if take("{") {
            while next != UInt8(ascii: "}") { digits.append(String(UnicodeScalar(try takeByte()))) }
            at += 1
        } else {
            for _ in 0..<2 { digits.append(String(UnicodeScalar(try takeByte()))) }
        }
        guard let value = UInt8(digits, radix: 16) else { throw TopicPatternError("`\\x` has no hexadecimal byte") }
        return value
    }

    // MARK: Classes

    private mutating func characterClass() throws(TopicPatternError) -> TopicPattern.ByteSet {
        let isNegated = take("^")
        var set = ByteSet()
        var isFirst = true
        while isFirst || next != UInt8(ascii: "]") {
            isFirst = false
            if take("[:") {
                set.formUnion(try posixClass())
                continue
            }
            let (low, known) = try classItem()
            if let known {
                set.formUnion(known)
                continue
            }
            var high = low
            if next == UInt8(ascii: "-"), at + 1 < bytes.count, bytes[at + 1] != UInt8(ascii: "]") {
                at += 1
                let (end, wrong) = try classItem()
                guard wrong == nil, end >= low else { throw TopicPatternError("a range is the wrong way round") }
                high = end
            }
            set.formUnion(ByteSet([low...high]))
        }
        at += 1
        return isNegated ? cased(set).inverted : set
    }

    /// A byte, or a class in its place.
    private mutating func classItem() throws(TopicPatternError) -> (UInt8, TopicPattern.ByteSet?) {
        guard next != nil else { throw TopicPatternError("a `[` has no `]`") }
        let byte = try takeByte()
        guard byte == UInt8(ascii: "\\") else { return (byte, nil) }
        let escaped = try takeByte()
        if let known = Self.perlClass(escaped) { return (0, known) }
        return (try escapedByte(escaped), nil)
    }

    private mutating func posixClass() throws(TopicPatternError) -> TopicPattern.ByteSet {
        let isNegated = take("^")
        let classes: [(StaticString, [ClosedRange<UInt8>])] = [
            ("alnum", [48...57, 65...90, 97...122]), ("alpha", [65...90, 97...122]), ("ascii", [0...127]),
            ("blank", [9...9, 32...32]), ("cntrl", [0...31, 127...127]), ("digit", [48...57]), ("graph", [33...126]),
            ("lower", [97...122]), ("print", [32...126]), ("punct", [33...47, 58...64, 91...96, 123...126]),
            ("space", [9...13, 32...32]), ("upper", [65...90]), ("word", [48...57, 65...90, 95...95, 97...122]),
            ("xdigit", [48...57, 65...70, 97...102]),
        ]
        for (name, ranges) in classes where take(name) {
            guard take(":]") else { break }
            return isNegated ? ByteSet(ranges).inverted : ByteSet(ranges)
        }
        throw TopicPatternError("a named class is not known")
    }
}
