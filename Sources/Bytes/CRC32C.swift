// SPDX-License-Identifier: Apache-2.0
// Martlet, Bytes: CRC-32C (Castagnoli), the checksum of Kafka record batches (RFC 3720 B.4).

import CLinux

/// CRC-32C of `bytes`, continuing from `seed` (0 to start).
package func crc32c(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    guard let base = bytes.baseAddress else { return seed }
    // SAFETY: reads exactly `bytes.count` bytes, within the caller's closure.
    return unsafe martlet_crc32c(seed, base, bytes.count)
}

/// CRC-32C of a text's UTF-8.
package func crc32c(of text: String) -> UInt32 {
    // SAFETY: the pointer is used within the closure only.
    unsafe Array(text.utf8).withUnsafeBytes { unsafe crc32c($0) }
}
