// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: the header block that was just received.
//
// One object per connection, filled and emptied again for every block, because blocks of one connection never interleave
// (RFC 9113, section 4.3). Whoever needs a value for longer takes a slice or a string while the event lasts. The
// fields that gRPC needs have fixed places and are found without hashing; the others are kept in order.

import Glibc
import NIOCore

/// The fields with a fixed place.
package enum HTTP2Field: Int, CaseIterable, Sendable {
    case method, scheme, authority, path, status
    case contentType, te, userAgent
    case grpcTimeout, grpcEncoding, grpcAcceptEncoding, grpcStatus, grpcMessage

    package var name: StaticString {
        switch self {
        case .method: ":method"
        case .scheme: ":scheme"
        case .authority: ":authority"
        case .path: ":path"
        case .status: ":status"
        case .contentType: "content-type"
        case .te: "te"
        case .userAgent: "user-agent"
        case .grpcTimeout: "grpc-timeout"
        case .grpcEncoding: "grpc-encoding"
        case .grpcAcceptEncoding: "grpc-accept-encoding"
        case .grpcStatus: "grpc-status"
        case .grpcMessage: "grpc-message"
        }
    }

    /// The field of this name, if it has a fixed place. Names of one length are few, so this is a length and a comparison or two.
    static func named(_ name: UnsafeBufferPointer<UInt8>) -> HTTP2Field? {
        switch name.count {
        case 2: unsafe match(name, .te)
        case 5: unsafe match(name, .path)
        case 7: unsafe match(name, .method) ?? match(name, .scheme) ?? match(name, .status)
        case 10: unsafe match(name, .authority) ?? match(name, .userAgent)
        case 11: unsafe match(name, .grpcStatus)
        case 12: unsafe match(name, .contentType) ?? match(name, .grpcTimeout) ?? match(name, .grpcMessage)
        case 13: unsafe match(name, .grpcEncoding)
        case 20: unsafe match(name, .grpcAcceptEncoding)
        default: nil
        }
    }

    private static func match(_ name: UnsafeBufferPointer<UInt8>, _ field: HTTP2Field) -> HTTP2Field? {
        let expected = field.name
        guard name.count == expected.utf8CodeUnitCount, let base = name.baseAddress else { return nil }
        // SAFETY: both sides have `name.count` bytes, checked above.
        return unsafe memcmp(base, expected.utf8Start, name.count) == 0 ? field : nil
    }
}

/// A received header block; valid during the event that delivers it.
package final class HTTP2Fields {
    private var storage = ByteBuffer()
    private var known: [Range<Int>?]
    private var others: [(name: Range<Int>, value: Range<Int>)] = []
    private var size = 0
    private let sizeMax: Int
    /// The block was larger than the limit: fields are missing.
    package private(set) var isTruncated = false

    init(sizeMax: Int) {
        self.sizeMax = sizeMax
        known = Array(repeating: nil, count: HTTP2Field.allCases.count)
    }

    package func contains(_ field: HTTP2Field) -> Bool { known[field.rawValue] != nil }

    /// The value's bytes, sharing the block's storage.
    package subscript(field: HTTP2Field) -> ByteBuffer? {
        guard let range = known[field.rawValue] else { return nil }
        return storage.getSlice(at: range.lowerBound, length: range.count)
    }

    package func string(_ field: HTTP2Field) -> String? {
        guard let range = known[field.rawValue] else { return nil }
        return storage.getString(at: range.lowerBound, length: range.count)
    }

    /// Whether the value is exactly this text.
    package func matches(_ field: HTTP2Field, _ text: StaticString) -> Bool {
        guard let range = known[field.rawValue], range.count == text.utf8CodeUnitCount else { return false }
        return compare(range.lowerBound, text)
    }

    /// Whether the value starts with this text.
    package func starts(_ field: HTTP2Field, with text: StaticString) -> Bool {
        guard let range = known[field.rawValue], range.count >= text.utf8CodeUnitCount else { return false }
        return compare(range.lowerBound, text)
    }

    /// The first value of a field that has no fixed place.
    package func value(named name: String) -> String? {
        for other in others where storage.getString(at: other.name.lowerBound, length: other.name.count) == name {
            return storage.getString(at: other.value.lowerBound, length: other.value.count)
        }
        return nil
    }

    /// Every field, as text.
    package var all: [(name: String, value: String)] {
        let fixed: [(name: String, value: String)] = HTTP2Field.allCases.compactMap { field in
            string(field).map { (field.name.description, $0) }
        }
        return fixed
            + others.map { other in
                (
                    storage.getString(at: other.name.lowerBound, length: other.name.count) ?? "",
                    storage.getString(at: other.value.lowerBound, length: other.value.count) ?? ""
                )
            }
    }

    func removeAll() {
        storage.clear()
        for index in known.indices { known[index] = nil }
        others.removeAll(keepingCapacity: true)
        size = 0
        isTruncated = false
    }

    /// Adds one field; the first one wins where the name has a fixed place and repeats.
    func append(name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
        size += name.count + value.count + 32
        guard size <= sizeMax else {
            isTruncated = true
            return
        }
        if let field = unsafe HTTP2Field.named(name) {
            if known[field.rawValue] == nil { known[field.rawValue] = unsafe store(value) }
        } else {
            others.append((unsafe store(name), unsafe store(value)))
        }
    }

    private func store(_ bytes: UnsafeBufferPointer<UInt8>) -> Range<Int> {
        let start = storage.writerIndex
        unsafe storage.writeBytes(UnsafeRawBufferPointer(bytes))
        return start..<storage.writerIndex
    }

    private func compare(_ start: Int, _ text: StaticString) -> Bool {
        // SAFETY: `store` wrote at least `utf8CodeUnitCount` bytes at `start` (the callers check the range's count), and the
        // reader index of `storage` stays at 0, so positions in the readable bytes are the ranges' own.
        unsafe storage.withUnsafeReadableBytes {
            guard let base = $0.baseAddress else { return text.utf8CodeUnitCount == 0 }
            return unsafe memcmp(base + start, text.utf8Start, text.utf8CodeUnitCount) == 0
        }
    }
}
