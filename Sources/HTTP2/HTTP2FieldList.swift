// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: header fields to be sent, in the form that nghttp2 takes.
//
// Immutable. A permanent list lives as long as the process, so nghttp2 reads names and values in place; the fields of any
// other list are copied when they are submitted.

import CNGHTTP2

/// An ordered list of header fields. Names are lower case (RFC 9113, section 8.2).
@safe package final class HTTP2FieldList: @unchecked Sendable {
    // Unchecked: written in `init` only.
    private let storage: UnsafeMutableBufferPointer<UInt8>
    private let fields: UnsafeMutableBufferPointer<nghttp2_nv>

    /// `permanent`: the list is never freed. For the handful of lists that every response uses.
    package init(_ list: [(name: String, value: String)], permanent: Bool = false) {
        let size = list.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count }
        unsafe storage = .allocate(capacity: max(1, size))
        unsafe fields = .allocate(capacity: max(1, list.count))
        let flags = permanent ? NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue : 0
        count = list.count
        var position = 0
        // SAFETY: `position` runs to `size`, the sum of the same lengths; `fields` has a place for each entry.
        @unsafe func store(_ text: String) -> (UnsafeMutablePointer<UInt8>?, Int) {
            let start = position
            for byte in text.utf8 {
                unsafe storage.initializeElement(at: position, to: byte)
                position += 1
            }
            return unsafe (storage.baseAddress.map { unsafe $0 + start }, position - start)
        }
        for (index, field) in list.enumerated() {
            let name = unsafe store(field.name)
            let value = unsafe store(field.value)
            unsafe fields.initializeElement(
                at: index,
                to: nghttp2_nv(
                    name: name.0, value: value.0, namelen: name.1, valuelen: value.1, flags: UInt8(flags)))
        }
        if permanent { _ = unsafe Unmanaged.passRetained(self) }
    }

    deinit {
        // SAFETY: both were allocated in `init` and are not used after this.
        unsafe storage.deallocate()
        unsafe fields.deallocate()
    }

    package let count: Int

    /// SAFETY: the pointer is valid while the list lives, and nobody writes through it.
    @unsafe func withFields<T>(_ body: (UnsafePointer<nghttp2_nv>?, Int) -> T) -> T {
        withExtendedLifetime(self) { unsafe body(UnsafePointer(fields.baseAddress), count) }
    }
}
