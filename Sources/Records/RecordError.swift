// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: the one error type of this module.
//
// The code says what a caller does about it (the Kafka edge maps each to one Kafka error code, in
// its own file); the message names the cause for a person. A plain value, equal by code.

/// Why a record batch, or a record in it, cannot be taken or read.
package struct RecordError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable, CaseIterable {
        /// Bytes damaged or cut short: bad length, bad checksum (Kafka's CORRUPT_MESSAGE).
        case corruptMessage
        /// Whole, but not what a producer may send: counts, offsets, sequence, keys
        /// (INVALID_RECORD).
        case invalidRecord
        /// Larger than the topic's `max.message.bytes` (MESSAGE_TOO_LARGE).
        case messageTooLarge
        /// Magic 0 or 1. Kafka 4 answers INVALID_RECORD in Produce; UNSUPPORTED_FOR_MESSAGE_FORMAT
        /// also fits.
        case unsupportedMagic
        /// A compression code nobody defines, or one this request may not carry
        /// (UNSUPPORTED_COMPRESSION_TYPE).
        case unsupportedCompression
        /// A timestamp out of the topic's bounds, or the wrong timestamp type (INVALID_TIMESTAMP).
        case invalidTimestamp
        /// Decompressing would exceed the caller's limit: refused, because nobody could read it
        /// either.
        case decompressedTooLarge
    }

    package var code: Code
    package var message: String
    /// The records at fault, if it is some of the batch's only (KIP-467); a bounded number of them.
    package var records: [BatchIndexError] = []

    package init(_ code: Code, _ message: String, records: [BatchIndexError] = []) {
        self.code = code
        self.message = message
        self.records = records
    }

    package var description: String { message }

    package static func == (left: RecordError, right: RecordError) -> Bool {
        left.code == right.code
    }
}

/// What is wrong with one record of a batch.
package struct BatchIndexError: Equatable, Sendable {
    /// How many are named at most.
    package static let limit = 100

    /// The record's place in its batch, from 0.
    package var index: Int32
    package var message: String

    package init(index: Int32, message: String) {
        self.index = index
        self.message = message
    }
}
