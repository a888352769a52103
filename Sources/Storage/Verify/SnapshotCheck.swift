// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: whether a `.snapshot` file is one (Kafka's ProducerStateManager, version 1). Owns nothing.

import Bytes
import NIOCore

enum SnapshotCheck {
    static let entryBytes = 46

    /// What is wrong with the file; nil if it is sound.
    static func problem(_ bytes: ByteBuffer) -> String? {
        var bytes = bytes
        guard let version = bytes.readInteger(as: Int16.self), let crc = bytes.readInteger(as: UInt32.self) else {
            return "it has \(bytes.readableBytes) bytes, fewer than its head"
        }
        guard version == 1 else { return "it has version \(version), not 1" }
        // SAFETY: the pointer is used within the closure only.
        let actual = unsafe bytes.withUnsafeReadableBytes { unsafe crc32c($0) }
        guard actual == crc else { return "its checksum is wrong" }
        guard let count = bytes.readInteger(as: Int32.self), Int(count) * entryBytes == bytes.readableBytes else {
            return "it has \(bytes.readableBytes) bytes of entries, which is not what it says"
        }
        return nil
    }
}
