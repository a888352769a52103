// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what happened, as a hash and as the last few lines.

import Bytes
import NIOCore

/// A life's record of itself.
struct Trace {
    private static let keptLines = 40
    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    private var lines: [String] = []
    private var next = 0
    /// Every line, for a person who looks at one seed.
    var listener: ((String) -> Void)?

    mutating func mix(_ value: UInt64) { hash = (hash ^ value) &* 0x100_0000_01b3 }

    mutating func mix(_ bytes: ByteBuffer) {
        // SAFETY: the pointer is read within the closure only.
        mix(UInt64(unsafe bytes.withUnsafeReadableBytes { unsafe crc32c($0) }))
    }

    mutating func note(_ line: @autoclosure () -> String) {
        let line = line()
        listener?(line)
        if lines.count < Self.keptLines {
            lines.append(line)
        } else {
            lines[next % Self.keptLines] = line
        }
        next += 1
    }

    /// Oldest first.
    var lastLines: [String] {
        guard next > Self.keptLines else { return lines }
        let split = next % Self.keptLines
        return Array(lines[split...] + lines[..<split])
    }
}
