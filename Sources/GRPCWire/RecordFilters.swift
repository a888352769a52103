// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: which records a subscriber wants: a look at the stored bytes, before anything is encoded.
//
// Immutable. A record is wanted if it meets all conditions of one filter. Its cost is a few comparisons for each record;
// the number of filters is bounded by whoever makes them.

import Contract
import Glibc
import Records

package final class RecordFilters: Sendable {
    private let filters: [Filter]

    fileprivate struct Filter: Sendable {
        var key: [UInt8]?
        var keyPrefix: [UInt8]?
        var valuePrefix: [UInt8]?
        var headers: [(key: [UInt8], value: [UInt8]?)]
    }

    /// Filters of one request, and bytes and headers of all of them; more: INVALID_ARGUMENT.
    package static let filtersMax = 32
    package static let headersMax = 64
    package static let bytesMax = 64 << 10

    /// nil: there are none, everything is wanted. Throws `INVALID_ARGUMENT`.
    package init?(_ filters: [Martlet_V1_RecordFilter]) throws(GRPCStatus) {
        guard !filters.isEmpty else { return nil }
        guard filters.count <= Self.filtersMax else {
            throw .invalid("filters", "filters has \(filters.count) entries; at most \(Self.filtersMax) are allowed")
        }
        var made: [Filter] = []
        for (index, filter) in filters.enumerated() {
            guard filter.hasKey || filter.hasKeyPrefix || filter.hasValuePrefix || !filter.headers.isEmpty else {
                throw .invalid("filters[\(index)]", "filters[\(index)] has no condition; leave it out to get all records")
            }
            made.append(
                Filter(
                    key: filter.hasKey ? Array(filter.key) : nil,
                    keyPrefix: filter.hasKeyPrefix ? Array(filter.keyPrefix) : nil,
                    valuePrefix: filter.hasValuePrefix ? Array(filter.valuePrefix) : nil,
                    headers: filter.headers.map { (Array($0.key.utf8), $0.hasValue ? Array($0.value) : nil) }))
        }
        let headers = made.reduce(0) { (sum: Int, filter: Filter) in sum + filter.headers.count }
        guard headers <= Self.headersMax else {
            throw .invalid("filters", "filters have \(headers) headers together; at most \(Self.headersMax) are allowed")
        }
        let bytes = made.reduce(0) { (sum: Int, filter: Filter) in sum + filter.size }
        guard bytes <= Self.bytesMax else {
            throw .invalid("filters", "filters hold \(bytes) bytes together; at most \(Self.bytesMax) are allowed")
        }
        self.filters = made
    }

    /// SAFETY: `source` is the record section in which a cursor found `record`.
    func accepts(_ record: RecordLayout, _ source: UnsafeRawBufferPointer) throws(RecordError) -> Bool {
        for filter in filters {
            if try unsafe filter.accepts(record, source) { return true }
        }
        return false
    }
}

extension RecordFilters.Filter {
    fileprivate var size: Int {
        (key?.count ?? 0) + (keyPrefix?.count ?? 0) + (valuePrefix?.count ?? 0)
            + headers.reduce(0) { $0 + $1.key.count + ($1.value?.count ?? 0) }
    }

    fileprivate func accepts(_ record: RecordLayout, _ source: UnsafeRawBufferPointer) throws(RecordError) -> Bool {
        if let key, unsafe !Self.matches(key, source, record.keyRange, isPrefix: false) { return false }
        if let keyPrefix, unsafe !Self.matches(keyPrefix, source, record.keyRange, isPrefix: true) { return false }
        if let valuePrefix, unsafe !Self.matches(valuePrefix, source, record.valueRange, isPrefix: true) { return false }
        for header in headers {
            guard record.headerCount > 0, try unsafe has(header, record, source) else { return false }
        }
        return true
    }

    private func has(
        _ wanted: (key: [UInt8], value: [UInt8]?), _ record: RecordLayout, _ source: UnsafeRawBufferPointer
    ) throws(RecordError) -> Bool {
        var cursor = HeaderCursor(record)
        while let header = try unsafe cursor.next(in: source) {
            guard unsafe Self.matches(wanted.key, source, header.keyRange, isPrefix: false) else { continue }
            guard let value = wanted.value else { return true }
            if unsafe Self.matches(value, source, header.valueRange, isPrefix: false) { return true }
        }
        return false
    }

    /// A part that is not there matches nothing.
    private static func matches(
        _ wanted: [UInt8], _ source: UnsafeRawBufferPointer, _ range: Range<Int>?, isPrefix: Bool
    ) -> Bool {
        guard let range, isPrefix ? range.count >= wanted.count : range.count == wanted.count else { return false }
        guard !wanted.isEmpty, let base = source.baseAddress else { return true }
        // SAFETY: the range lies in the source (RecordCursor has checked it) and has as many bytes as are compared.
        return unsafe wanted.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return true }
            return unsafe memcmp(base + range.lowerBound, start, bytes.count) == 0
        }
    }
}
