// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: one record as a value, for callers that want comfort rather than the last
// nanosecond.
//
// Keys, values and header values are slices of the batch they came from and keep its storage alive;
// whoever holds a record for long copies what it needs. The hot paths use `RecordCursor` instead.

import NIOCore

/// A header of a record (KIP-82): a name and bytes that may be null.
package struct RecordHeader: Equatable, Sendable {
    package var key: String
    package var value: ByteBuffer?

    package init(key: String, value: ByteBuffer?) {
        self.key = key
        self.value = value
    }
}

/// A record read from a batch.
package struct Record: Equatable, Sendable {
    package var offset: Int64
    /// Milliseconds since the epoch; -1 if the producer set none.
    package var timestamp: Int64
    /// nil: no key; an empty buffer is a key of no bytes.
    package var key: ByteBuffer?
    /// nil: no value (a tombstone).
    package var value: ByteBuffer?
    package var headers: [RecordHeader]

    package init(
        offset: Int64, timestamp: Int64, key: ByteBuffer?, value: ByteBuffer?,
        headers: [RecordHeader] = []
    ) {
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = headers
    }
}
