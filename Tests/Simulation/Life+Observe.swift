// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what is read must be what was sent.

import Contract
import Engine
import KafkaWire
import NIOCore
import Records

extension Life {
    /// Checks an answer to a fetch; returns the offset to go on from.
    @discardableResult
    func observe(_ answer: FetchResponse.Partition, of partition: PartitionModel, from offset: Int64) -> Int64 {
        guard case .bytes(var bytes) = answer.records else { return offset }
        var next = offset
        var isFirst = true
        while let header = BatchHeader(bytes), header.sizeInBytes >= BatchHeader.size,
            let batch = bytes.readSlice(length: header.sizeInBytes)
        {
            let isNoticed = !BatchBytes.isCRCValid(batch, header: header) || header.magic != 2
                // Not by a consumer, if it is in the middle of an answer: a known limit of Kafka's format.
                || (header.baseOffset != next && !isFirst && isDamaged(partition, next))
            guard !isNoticed else {
                // A consumer sees that by the checksum, and tells its application.
                if !isDamaged(partition, next) {
                    violate("what is served is sound", "\(partition.name) serves a wrong checksum at offset \(next)")
                }
                return max(next + 1, partition.batch(containing: next).map { $0.base + Int64($0.batch.count) } ?? 0)
            }
            if isFirst ? header.baseOffset > next && !hasGap(partition, next) : header.baseOffset != next {
                violate(
                    "records come in order and without gaps",
                    "\(partition.name) serves offset \(header.baseOffset) where \(next) is due")
            }
            isFirst = false
            identify(batch, header, in: partition)
            next = header.nextOffset
            partition.knownEnd = max(partition.knownEnd, next)
        }
        if next > answer.highWatermark {
            violate(
                "the high watermark is the end of what can be read",
                "\(partition.name) serves up to \(next) and says \(answer.highWatermark)")
        }
        if next == offset, answer.highWatermark > offset {
            violate(
                "the high watermark is the end of what can be read",
                "\(partition.name) serves nothing at \(offset) and says \(answer.highWatermark)")
        }
        partition.knownEnd = max(partition.knownEnd, answer.highWatermark)
        return next
    }

    /// Whether a flipped bit may hide the record at this offset.
    func isDamaged(_ partition: PartitionModel, _ offset: Int64) -> Bool {
        guard let (base, _) = partition.batch(containing: offset) else { return false }
        return partition.damaged.contains(base)
    }

    /// Whether nothing that must be there is between this offset and the next known batch.
    private func hasGap(_ partition: PartitionModel, _ offset: Int64) -> Bool {
        guard let (base, _) = partition.batch(containing: offset) else { return true }
        return partition.damaged.contains(base)
    }

    /// Finds out which batch these bytes are, and whether they may be here.
    @discardableResult
    func identify(_ bytes: ByteBuffer, _ header: BatchHeader, in partition: PartitionModel) -> SentBatch? {
        guard let batch = lookUp(bytes, header) else {
            violate(
                "what is served was sent",
                "\(partition.name) has something at \(header.baseOffset) that nobody sent, \(bytes.readableBytes) bytes")
            return nil
        }
        guard batch.partition === partition else {
            violate(
                "what is served was sent to this partition",
                "\(partition.name) has #\(batch.number) of \(batch.partition.name) at \(header.baseOffset)")
            return nil
        }
        if partition.deletedCopies[header.baseOffset] === batch { return batch }
        let isKnown = partition.content[header.baseOffset] === batch
        guard isKnown || batch.unresolved > 0 else {
            violate(
                "nothing that was refused or lost is there",
                "\(partition.name) has #\(batch.number) at \(header.baseOffset)")
            return nil
        }
        batch.storedBytes = bytes.readableBytes
        guard place(batch, at: header.baseOffset, "found") else { return nil }
        return batch
    }

    private func lookUp(_ bytes: ByteBuffer, _ header: BatchHeader) -> SentBatch? {
        if let batch = model.batch(crc: header.crc), let sent = batch.bytes {
            // Base offset and leader epoch are the broker's.
            let size = bytes.readableBytes
            guard sent.readableBytes == size,
                bytes.getSlice(at: bytes.readerIndex + 16, length: size - 16)
                    == sent.getSlice(at: sent.readerIndex + 16, length: size - 16)
            else { return nil }
            return batch
        }
        do {
            var reader = try RecordBatchReader(bytes, decompressor: decompressor)
            var found: SentBatch?
            var index = 0
            while let record = try reader.next() {
                guard let value = record.value else { return nil }
                if found == nil { found = Payload.tag(of: value).flatMap { model.batch(tag: $0) } }
                guard let found, index < found.count, Array(value.readableBytesView) == found.value(index),
                    record.offset == header.baseOffset + Int64(index)
                else { return nil }
                index += 1
            }
            return index == found?.count ? found : nil
        } catch {
            return nil
        }
    }

    /// Checks one record that came by gRPC.
    func observe(_ record: Martlet_V1_Record, of partition: PartitionModel) {
        let value = ByteBuffer(bytes: record.value)
        guard let (batch, index) = sender(of: value), batch.partition === partition else {
            return violate(
                "what is served was sent",
                "\(partition.name) streams something at \(record.offset) that nobody sent there")
        }
        let base = record.offset - Int64(index)
        if partition.deletedCopies[base] === batch { return }
        guard partition.content[base] === batch || batch.unresolved > 0 else {
            return violate(
                "nothing that was refused or lost is there", "\(partition.name) streams #\(batch.number) at \(base)")
        }
        _ = place(batch, at: base, "streamed")
    }

    /// The batch that a value is from, and which of its records it is; nil if it is not exactly what was sent.
    func sender(of value: ByteBuffer) -> (batch: SentBatch, index: Int)? {
        guard let tag = Payload.tag(of: value) else { return nil }
        // A batch is registered under its first record's tag.
        for back in 0..<UInt64(16) {
            guard tag >= back, let batch = model.batch(tag: tag - back) else { continue }
            let index = Int(back)
            guard index < batch.count, Array(value.readableBytesView) == batch.value(index) else { return nil }
            return (batch, index)
        }
        return nil
    }

    /// Producer ids are given out once, also across crashes.
    func noteProducerId(_ id: Int64) {
        if !producerIds.insert(id).inserted { violate("a producer id is given out once", "\(id)") }
    }
}
