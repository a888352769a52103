// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: libyaml's event parser.
//
// The only code that touches libyaml. It owns the parser and the text it reads, and frees both; every event is copied
// into a Swift value and released before it is returned. Not thread-safe: one reader, one thread, one pass.

import CYAML

/// Reads a YAML text event by event.
@safe
final class YAMLEventReader {
    enum Kind {
        case streamStart, streamEnd, documentStart, documentEnd
        case mappingStart, mappingEnd, sequenceStart, sequenceEnd
        case scalar, alias
    }

    struct Event {
        var kind: Kind
        /// Of a scalar.
        var text = ""
        /// A scalar in quotes is text whatever it looks like.
        var isQuoted = false
        /// Counted from 1.
        var line: Int
    }

    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let input: UnsafeMutableBufferPointer<UInt8>
    /// The line of the last event.
    private(set) var line = 1

    init(_ text: String) {
        let bytes = Array(text.utf8)
        // SAFETY: both are allocated here, initialised before use, at fixed addresses (libyaml keeps pointers to
        // them) until deinit frees them; the input's count is passed with its address.
        unsafe input = .allocate(capacity: bytes.count)
        _ = unsafe input.initialize(from: bytes)
        unsafe parser = .allocate(capacity: 1)
        guard unsafe yaml_parser_initialize(parser) == 1 else { fatalError("out of memory") }
        unsafe yaml_parser_set_input_string(parser, input.baseAddress, input.count)
        unsafe yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
    }

    deinit {
        // SAFETY: initialised in init, used by nobody else, and not used after this.
        unsafe yaml_parser_delete(parser)
        unsafe parser.deallocate()
        unsafe input.deallocate()
    }

    func next() throws(YAMLDocument.Problem) -> Event {
        var event = unsafe yaml_event_t()
        // SAFETY: parser and event are live; on success the event is filled and released below, after it was copied.
        guard unsafe yaml_parser_parse(parser, &event) == 1 else { throw problem }
        defer { unsafe yaml_event_delete(&event) }
        line = unsafe event.start_mark.line + 1
        guard let kind = unsafe Self.kind(event.type) else {
            throw YAMLDocument.Problem(line: line, message: "this is not understood")
        }
        if kind == .alias { throw YAMLDocument.Problem(line: line, message: "aliases (`*name`) are not read") }
        guard kind == .scalar else { return Event(kind: kind, line: line) }
        // SAFETY: of a scalar event, `value` points to `length` bytes that live until the event is deleted.
        let scalar = unsafe event.data.scalar
        let text = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
        return unsafe Event(
            kind: .scalar, text: String(decoding: text, as: UTF8.self),
            isQuoted: scalar.style != YAML_PLAIN_SCALAR_STYLE, line: line)
    }

    /// What libyaml complained about, at the line it complained about, and where what it complains of begins.
    private var problem: YAMLDocument.Problem {
        // SAFETY: the parser is live; `problem` and `context` are nil or point to string constants of the library.
        let line = unsafe parser.pointee.problem_mark.line + 1
        if isIndentedWithTab(line) {
            return YAMLDocument.Problem(line: line, message: "it is indented with a tab, which YAML does not allow; use spaces")
        }
        guard let text = unsafe parser.pointee.problem.map({ unsafe String(cString: $0) }) else {
            return YAMLDocument.Problem(line: line, message: "this is not YAML")
        }
        let begin = unsafe parser.pointee.context_mark.line + 1
        let context = unsafe parser.pointee.context.map { unsafe String(cString: $0) }
        let place = context.map { " \($0)\(begin == line ? "" : " that begins in line \(begin)")" } ?? ""
        return YAMLDocument.Problem(line: line, message: "this is not YAML: \(text)\(place)")
    }

    private func isIndentedWithTab(_ line: Int) -> Bool {
        // SAFETY: the input lives as long as its reader, and is copied.
        let text = unsafe Array(input)
        let lines = text.split(separator: UInt8(ascii: "\n"), maxSplits: line, omittingEmptySubsequences: false)
        guard lines.indices.contains(line - 1) else { return false }
        return lines[line - 1].prefix { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }.contains(UInt8(ascii: "\t"))
    }

    private static func kind(_ type: yaml_event_type_t) -> Kind? {
        switch type {
        case YAML_STREAM_START_EVENT: .streamStart
        case YAML_STREAM_END_EVENT: .streamEnd
        case YAML_DOCUMENT_START_EVENT: .documentStart
        case YAML_DOCUMENT_END_EVENT: .documentEnd
        case YAML_MAPPING_START_EVENT: .mappingStart
        case YAML_MAPPING_END_EVENT: .mappingEnd
        case YAML_SEQUENCE_START_EVENT: .sequenceStart
        case YAML_SEQUENCE_END_EVENT: .sequenceEnd
        case YAML_SCALAR_EVENT: .scalar
        case YAML_ALIAS_EVENT: .alias
        default: nil
        }
    }
}
