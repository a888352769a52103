// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: from the batches of which a worker has acquired records to messages with items.
//
// Made for one delivery. Batches are checked as a Kafka consumer would: nobody else can.

import Contract
import Engine
import FoundationEssentials
import GRPCWire
import NIOCore
import Records
import SwiftProtobuf

struct WorkItemWriter {
    private let partition: Partition
    private let runs: [SharePartition.Run]
    /// When the lease ends, by the wall clock.
    private let leaseDeadlineMs: Int64
    private var message = Martlet_V1_WorkItems()
    private var messageBytes = 0
    private var found: Set<Int64> = []

    init(_ partition: Partition, _ runs: [SharePartition.Run], leaseDeadlineMs: Int64) {
        self.partition = partition
        self.runs = runs
        self.leaseDeadlineMs = leaseDeadlineMs
    }

    var recordCount: Int { found.count }

    /// Offsets that were acquired and have no record: compaction has removed it.
    var gaps: [Int64] { runs.flatMap { ($0.first...$0.last).filter { !found.contains($0) } } }

    /// `number`: gives the record at an offset its number.
    mutating func write(
        _ bytes: ByteBuffer, _ decompressor: Decompressor, into buffer: inout ByteBuffer, number: (Int64) -> UInt64
    ) throws(RecordError) {
        var rest = bytes
        var run = 0
        while let (header, batch) = try BatchBytes.next(from: &rest) {
            guard !header.isControl, run < runs.count, header.lastOffset >= runs[run].first else { continue }
            guard BatchBytes.isCRCValid(batch, header: header) else {
                throw RecordError(.corruptMessage, "the checksum of the batch at offset \(header.baseOffset) is wrong")
            }
            var reader = try RecordBatchReader(
                batch, decompressor: decompressor, limit: Limits.decompressedBatchBytes)
            while run < runs.count, let record = try reader.next() {
                while run < runs.count, runs[run].last < record.offset { run += 1 }
                guard run < runs.count, record.offset >= runs[run].first else { continue }
                add(record, number(record.offset), deliveryCount: runs[run].deliveryCount, into: &buffer)
            }
        }
        flush(into: &buffer)
    }

    private mutating func add(
        _ record: Record, _ id: UInt64, deliveryCount: Int16, into buffer: inout ByteBuffer
    ) {
        found.insert(record.offset)
        message.items.append(item(record, id, deliveryCount: deliveryCount))
        messageBytes += (record.key?.readableBytes ?? 0) + (record.value?.readableBytes ?? 0) + 64
        if messageBytes >= Limits.itemBytesPerMessage { flush(into: &buffer) }
    }

    private mutating func flush(into buffer: inout ByteBuffer) {
        guard !message.items.isEmpty else { return }
        let items = message
        Self.write(Martlet_V1_ReceiveResponse.with { $0.items = items }, into: &buffer)
        message = Martlet_V1_WorkItems()
        messageBytes = 0
    }

    private func item(_ record: Record, _ id: UInt64, deliveryCount: Int16) -> Martlet_V1_WorkItem {
        .with {
            $0.deliveryID = id
            $0.topic = partition.topic
            $0.partition = partition.index
            $0.offset = record.offset
            if let key = record.key { $0.key = .init(key.readableBytesView) }
            if let value = record.value { $0.value = .init(value.readableBytesView) }
            $0.headers = record.headers.map { header in
                .with {
                    $0.key = header.key
                    if let value = header.value { $0.value = .init(value.readableBytesView) }
                }
            }
            $0.timestampMs = record.timestamp
            $0.deliveryCount = UInt32(max(0, deliveryCount))
            $0.leaseDeadlineMs = leaseDeadlineMs
        }
    }

    /// A message to a worker.
    static func write(_ answer: Martlet_V1_ReceiveResponse, into buffer: inout ByteBuffer) {
        // Only a missing required field could keep it from being encoded, and proto3 has none.
        guard let bytes: [UInt8] = try? answer.serializedBytes() else { return }
        buffer.writeMessage { $0.writeBytes(bytes) }
    }
}
