// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: turns lines into records of a topic.
//
// Owned by one thread that may wait. Records are sent in batches while there is input, and at once
// when the input pauses, so that a person who types sees each line arrive.

import Bytes
import NIOCore
import Records

/// How a line becomes a record.
package struct LineOptions: Equatable, Sendable {
    /// What stands between key and value; nil: the line is the value. Lines without it have no key.
    package var keySeparator: String?
    package var headers: [RecordHeader] = []
    /// An empty value is sent as null, a tombstone.
    package var emptyIsTombstone = false

    package init() {}

    /// Reads `name=value` headers.
    package mutating func setHeaders(_ texts: [String]) throws(ClientError) {
        headers = []
        for text in texts {
            guard let equals = text.firstIndex(of: "="), equals > text.startIndex else {
                throw ClientError(.invalidArgument, "header '\(text)': write name=value")
            }
            let value = text[text.index(after: equals)...]
            headers.append(
                RecordHeader(
                    key: String(text[..<equals]), value: ByteBuffer(substring: value)))
        }
    }

    /// Splits a line.
    func parts(of line: ByteBuffer) -> (key: ByteBuffer?, value: ByteBuffer?) {
        var key: ByteBuffer?
        var value = line
        if let keySeparator, let place = Self.find(Array(keySeparator.utf8), in: line) {
            key = value.readSlice(length: place)
            value.moveReaderIndex(forwardBy: keySeparator.utf8.count)
        }
        return (key, emptyIsTombstone && value.readableBytes == 0 ? nil : value)
    }

    private static func find(_ wanted: [UInt8], in line: ByteBuffer) -> Int? {
        let view = line.readableBytesView
        guard let first = wanted.first, view.count >= wanted.count else { return nil }
        var start = view.startIndex
        while let found = view[start...].firstIndex(of: first) {
            if view[found...].starts(with: wanted) { return found - view.startIndex }
            start = found + 1
        }
        return nil
    }
}

package enum LineProducer {
    /// Produces all lines; returns how many records were written.
    package static func run(
        _ reader: inout LineReader, options: LineOptions, writer: some RecordWriter,
        clock: some Clock = SystemClock()
    ) throws(ClientError) -> Int64 {
        while true {
            switch try reader.next() {
            case .line(let line):
                let (key, value) = options.parts(of: line)
                try writer.write(
                    key: key, value: value, headers: options.headers, timestamp: clock.nowMs())
            case .pause: try writer.finish()
            case .end:
                try writer.finish()
                return writer.written
            }
        }
    }
}
