// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: records of many publish requests to one topic, on their way into shared batches.
//
//   add ... add -> finish(batch) for each batch
//
// A value with one owner. All records of a request that go to one partition are in one batch, one after the other. A
// request that is refused leaves nothing behind: its records are read before the first of them is put anywhere.

import NIOCore
import Records

package struct RecordGathering {
    /// The records of one request in one batch.
    package struct Part: Equatable {
        package var batch: Int
        /// Which of the batch's records they are.
        package var first: Int32
        package var count: Int32
        /// Where they stand in the request; nil: they are all of it, in order.
        package var positions: [Int32]?
    }

    private struct Batch {
        let partition: Int32
        var builder: RecordBatchBuilder
        var isFull = false
    }

    private var batches: [Batch] = []
    private let batchBytesMax: Int
    private var records: [PublishRecordFields] = []
    /// Where the records of the last request that was added are.
    package private(set) var parts: [Part] = []

    /// `batchBytesMax`: no request is added to a batch that would become larger; alone it may be.
    package init(batchBytesMax: Int) {
        self.batchBytesMax = batchBytesMax
    }

    package var count: Int { batches.count }

    package func partition(of batch: Int) -> Int32 { batches[batch].partition }

    /// The batch's bytes.
    package mutating func finish(_ batch: Int) -> ByteBuffer { batches[batch].builder.finish() }

    /// Adds a request's records: to its partition, else to the key's, else to `unkeyed`; those without a timestamp get
    /// `nowMs`. `parts` tells where they are. Throws `INVALID_ARGUMENT`, `NOT_FOUND`.
    package mutating func add(
        _ request: PublishRequestReader, partitionCount: Int, unkeyed: @autoclosure () -> Int32, nowMs: Int64
    ) throws(GRPCStatus) {
        if let partition = request.partition, Int(partition) >= partitionCount {
            throw GRPCStatus.unknown(
                topic: request.topic, partition: partition,
                "topic \(request.topic) has no partition \(partition), only 0 to \(partitionCount - 1)")
        }
        try request.read(into: &records)
        defer { records.removeAll(keepingCapacity: records.count <= 4096) }
        parts.removeAll(keepingCapacity: true)
        var chosen: Int32?
        var last = 0
        for position in records.indices {
            let record = records[position]
            var target = request.partition ?? record.key.map {
                KeyPartitioner.partition(ofKey: $0, in: request.message, count: partitionCount)
            }
            if target == nil {
                chosen = chosen ?? unkeyed()
                target = chosen
            }
            let partition = target ?? 0
            if parts.isEmpty || batches[parts[last].batch].partition != partition {
                last = part(for: partition, of: request, position: position)
            }
            batches[parts[last].batch].builder.append(
                key: record.key, value: record.value, of: request.message, headers: record.headers,
                timestamp: record.timestampMs ?? nowMs)
            parts[last].count += 1
            parts[last].positions?.append(Int32(position))
        }
    }

    /// The part of the request that goes to this partition; it is begun if need be.
    private mutating func part(for partition: Int32, of request: PublishRequestReader, position: Int) -> Int {
        if let known = parts.firstIndex(where: { batches[$0.batch].partition == partition }) { return known }
        // The usual request goes to one partition and needs no list of positions.
        if parts.count == 1 { parts[0].positions = Array(0..<Int32(position)) }
        let batch = batch(for: partition, adding: request.sizeInBatch)
        parts.append(
            Part(
                batch: batch, first: batches[batch].builder.recordCount, count: 0,
                positions: parts.isEmpty ? nil : []))
        return parts.count - 1
    }

    private mutating func batch(for partition: Int32, adding size: Int) -> Int {
        if let known = batches.lastIndex(where: { $0.partition == partition && !$0.isFull }) {
            if batches[known].builder.sizeInBytes + size <= batchBytesMax { return known }
            batches[known].isFull = true
        }
        batches.append(Batch(partition: partition, builder: RecordBatchBuilder(capacity: size)))
        return batches.count - 1
    }
}
