// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: what a topic asks of the batches that producers send; plain configuration.

/// The rules a produced batch is held to. Defaults are Kafka 4.0's.
package struct BatchRules: Equatable, Sendable {
    /// How far into a batch the validator looks. Head and checksum are always checked.
    package enum Depth: Sendable {
        /// Nothing more.
        case head
        /// Also every record of an uncompressed batch, which costs no copy.
        case uncompressedRecords
        /// Also every record of a compressed batch, which has to be decompressed for it. What Kafka
        /// does.
        case allRecords
    }

    /// `max.message.bytes`: the largest batch, compressed, its head included.
    package var maxMessageBytes = 1_048_588
    /// `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    package var timestampBeforeMaxMs = Int64.max
    package var timestampAfterMaxMs: Int64 = 3_600_000
    /// `message.timestamp.type=LogAppendTime`: the producer's times are replaced, so they are not
    /// checked.
    package var isLogAppendTime = false
    /// `cleanup.policy` contains `compact`: every record needs a key. Asks for `.allRecords`.
    package var requiresKeys = false
    package var depth = Depth.uncompressedRecords
    /// `compression.type`: how batches are stored; nil keeps what the producer chose.
    package var compression: Compression?
    /// The largest record section that is decompressed to be checked.
    package var decompressedBytesMax = 256 * 1024 * 1024

    package init() {}
}

/// A codec and how hard it tries.
package struct Compression: Equatable, Sendable {
    package var type: CompressionType
    /// nil: the library's default.
    package var level: Int32?

    package init(_ type: CompressionType, level: Int32? = nil) {
        self.type = type
        self.level = level
    }
}
