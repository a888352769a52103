// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a transaction that was aborted, and its 34 bytes in a `.txnindex` file (Kafka's AbortedTxn).
//
// The engine keeps the list; compaction is given it, because it drops the records of aborted transactions, and says which
// of them are still to be told to readers.

import NIOCore
import Records

/// A transaction that was aborted, as consumers and `.txnindex` files are told. Offsets are absolute.
package struct AbortedTransaction: Equatable, Sendable {
    /// Bytes of an entry: int16 version 0, then four int64.
    package static let size = 34

    package var producerId: Int64
    /// Offset of its first record.
    package var firstOffset: Int64
    /// Offset of its marker.
    package var lastOffset: Int64
    /// The partition's last stable offset once it had ended.
    package var lastStableOffset: Int64

    package init(producerId: Int64, firstOffset: Int64, lastOffset: Int64, lastStableOffset: Int64) {
        self.producerId = producerId
        self.firstOffset = firstOffset
        self.lastOffset = lastOffset
        self.lastStableOffset = lastStableOffset
    }

    /// Whether this batch belongs to it.
    package func contains(_ header: BatchHeader) -> Bool {
        header.isTransactional && header.producerId == producerId && header.baseOffset >= firstOffset
            && header.baseOffset < lastOffset
    }

    /// Entries as they stand in the file.
    package static func encode(_ entries: some Sequence<AbortedTransaction>) -> ByteBuffer {
        var bytes = ByteBuffer()
        for entry in entries {
            bytes.writeMultipleIntegers(
                Int16(0), entry.producerId, entry.firstOffset, entry.lastOffset, entry.lastStableOffset)
        }
        return bytes
    }
}
