// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: counts the records of SubscribeResponse messages without decoding them.
//
// A value with one owner. Walks Protocol Buffers' wire format by hand: of a record only the offset
// is read, which has to grow within its partition. Nothing is trusted: every length is checked
// against what it lies in.

import NIOCore

struct SubscribeCounter {
    /// The next offset of each partition; -1 before the first record.
    private var next: [Int64] = []
    private(set) var records = 0
    private(set) var gaps = 0
    private static let partitionsMax = 100_000

    /// A new stream starts somewhere else.
    mutating func restart() {
        next.removeAll(keepingCapacity: true)
    }

    /// Counts one message's records; returns how many.
    mutating func count(_ message: ByteBuffer) throws(ClientError) -> Int {
        let before = records
        // SAFETY: the pointer is used within the closure only.
        let isSound = unsafe message.withUnsafeReadableBytes { unsafe walk($0) }
        guard isSound else {
            throw ClientError(
                .badAnswer,
                "a message is no SubscribeResponse, or its offsets do not grow (record \(records))")
        }
        return records - before
    }

    /// SubscribeResponse: field 1 is a batch.
    private mutating func walk(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var reader = unsafe WireReader(bytes)
        while let field = unsafe reader.next() {
            guard field == 1 else { continue }
            guard unsafe walk(batch: reader.content) else { return false }
        }
        return unsafe reader.isAtEnd
    }

    /// RecordBatch: field 2 is the partition, field 4 a record; the partition comes first.
    private mutating func walk(batch bytes: UnsafeRawBufferPointer) -> Bool {
        var reader = unsafe WireReader(bytes)
        var partition = 0
        while let field = unsafe reader.next() {
            if field == 2 {
                partition = unsafe Int(truncatingIfNeeded: reader.number)
                guard (0..<Self.partitionsMax).contains(partition) else { return false }
            }
            guard field == 4 else { continue }
            guard unsafe walk(record: reader.content, partition) else { return false }
        }
        return unsafe reader.isAtEnd
    }

    /// Record: field 1 is the offset, and absent if it is 0.
    private mutating func walk(record bytes: UnsafeRawBufferPointer, _ partition: Int) -> Bool {
        var reader = unsafe WireReader(bytes)
        var offset: Int64 = 0
        while let field = unsafe reader.next() {
            guard field == 1 else { continue }
            offset = unsafe Int64(bitPattern: reader.number)
            // What follows is not looked at: the record's length is known.
            unsafe reader.stop()
        }
        guard unsafe reader.isAtEnd else { return false }
        while next.count <= partition { next.append(-1) }
        let expected = next[partition]
        guard expected < 0 || offset >= expected else { return false }
        if expected >= 0 && offset > expected { gaps += Int(clamping: offset - expected) }
        next[partition] = offset &+ 1
        records += 1
        return true
    }
}
