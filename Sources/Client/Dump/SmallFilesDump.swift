// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: the dump of producer snapshots and of transaction indexes, in the words of Kafka's tool.

import Bytes
import NIOCore

extension SegmentDump {
    /// `.snapshot`: Kafka's ProducerStateManager, version 1.
    mutating func dumpSnapshot(_ file: ReadOnlyFile) throws(ClientError) {
        var bytes = try file.read(file.size, at: 0)
        guard let version: Int16 = bytes.readInteger(), let crc: UInt32 = bytes.readInteger() else {
            return damage("the snapshot has \(file.size) bytes, fewer than its head")
        }
        guard version == 1 else { return damage("the snapshot has version \(version), not 1") }
        // SAFETY: the pointer is used within the closure only.
        let actual = unsafe bytes.withUnsafeReadableBytes { unsafe crc32c($0) }
        if actual != crc { damage("the snapshot's checksum is \(crc), and its bytes have \(actual)") }
        guard let count: Int32 = bytes.readInteger() else { return damage("the snapshot is cut short") }
        for _ in 0..<max(0, count) {
            guard !isStopped else { return }
            guard let line = Self.producer(&bytes) else { return damage("the snapshot is cut short") }
            print(line)
        }
        if bytes.readableBytes > 0 { damage("\(bytes.readableBytes) bytes follow the snapshot's entries") }
    }

    private static func producer(_ bytes: inout ByteBuffer) -> String? {
        guard let id: Int64 = bytes.readInteger(), let epoch: Int16 = bytes.readInteger(),
            let lastSequence: Int32 = bytes.readInteger(), let lastOffset: Int64 = bytes.readInteger(),
            let delta: Int32 = bytes.readInteger(), let timestamp: Int64 = bytes.readInteger(),
            let coordinatorEpoch: Int32 = bytes.readInteger(), let firstOffset: Int64 = bytes.readInteger()
        else { return nil }
        let open = firstOffset >= 0 ? "OptionalLong[\(firstOffset)]" : "OptionalLong.empty"
        var line = """
            producerId: \(id) producerEpoch: \(epoch) coordinatorEpoch: \(coordinatorEpoch) \
            currentTxnFirstOffset: \(open) lastTimestamp: \(timestamp) 
            """
        guard lastOffset >= 0 else { return line }
        line += """
            firstSequence: \(sequence(lastSequence, minus: delta)) lastSequence: \(lastSequence) \
            lastOffset: \(lastOffset) offsetDelta: \(delta) timestamp: \(timestamp)
            """
        return line
    }

    /// Sequence numbers wrap from the largest Int32 to 0.
    private static func sequence(_ last: Int32, minus delta: Int32) -> Int64 {
        let first = Int64(last) - Int64(delta)
        return first >= 0 ? first : first + Int64(Int32.max) + 1
    }

    /// `.txnindex`: 34 bytes an aborted transaction.
    mutating func dumpTransactionIndex(_ file: ReadOnlyFile) throws(ClientError) {
        try forEachEntry(of: file, size: 34) { (dump, entry) throws(ClientError) in
            var entry = entry
            guard let version: Int16 = entry.readInteger(), let id: Int64 = entry.readInteger(),
                let first: Int64 = entry.readInteger(), let last: Int64 = entry.readInteger(),
                let stable: Int64 = entry.readInteger()
            else { return false }
            dump.print(
                "version: \(version) producerId: \(id) firstOffset: \(first) lastOffset: \(last)"
                    + " lastStableOffset: \(stable)")
            if last < first { dump.damage("the transaction of producer \(id) ends before it begins") }
            return true
        }
    }
}
