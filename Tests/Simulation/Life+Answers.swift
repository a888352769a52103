// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what answers to writes mean for the model.

import Engine
import KafkaWire

extension Life {
    /// How durable an answer says that something is.
    enum Promise { case none, written, durable }

    /// A batch was acknowledged at `offset`.
    func acknowledge(_ batch: SentBatch, at offset: Int64, _ promise: Promise) {
        let partition = batch.partition
        report.acknowledged += 1
        trace.note("acknowledged #\(batch.number) \(partition.name) at \(offset), \(promise)")
        batch.unresolved = max(0, batch.unresolved - 1)
        guard place(batch, at: offset, "acknowledged") else { return }
        let end = offset + Int64(batch.count)
        if promise == .durable { partition.durableEnd = max(partition.durableEnd, end) }
    }

    /// A batch is known to be in the log; false if it must not be there.
    func place(_ batch: SentBatch, at offset: Int64, _ how: String) -> Bool {
        let partition = batch.partition
        let end = offset + Int64(batch.count)
        // A batch that was stored, deleted and sent again is new: with its records the log may have forgotten its producer.
        if let known = batch.offset, known != offset, known + Int64(batch.count) <= partition.deletedBelow {
            partition.content[known] = nil
            partition.deletedCopies[known] = batch
            batch.offset = nil
        }
        if let known = batch.offset, known != offset {
            violate(
                "a batch is stored once",
                "#\(batch.number) of \(partition.name) is \(how) at \(offset), and was at \(known)")
            return false
        }
        if partition.content[offset] !== batch {
            for (base, other) in partition.content where base < end && offset < base + Int64(other.count) && other !== batch {
                violate(
                    "an offset is given out once",
                    "#\(batch.number) of \(partition.name) is \(how) at \(offset)..<\(end), where #\(other.number) has"
                        + " \(base)..<\(base + Int64(other.count))")
                return false
            }
            partition.content[offset] = batch
            batch.offset = offset
        }
        partition.knownEnd = max(partition.knownEnd, end)
        return true
    }

    /// A sending failed; `isDefinite`: the batch is not in the log because of it, nor will it be.
    func refuse(_ batch: SentBatch, isDefinite: Bool, _ why: String) {
        trace.note("refused #\(batch.number) \(batch.partition.name)\(isDefinite ? "" : ", perhaps stored"): \(why)")
        if isDefinite { batch.unresolved = max(0, batch.unresolved - 1) }
    }

    /// Whether an error of the disk leaves open what is stored: so it is once the log has failed.
    func leavesOpen(_ partition: PartitionModel) -> Bool {
        guard let live = broker?.partition(partition) else { return true }
        return live.failure != nil
    }

    func isDefinite(_ code: KafkaErrorCode, _ partition: PartitionModel) -> Bool {
        switch code {
        case .kafkaStorageError: !leavesOpen(partition)
        case .outOfOrderSequenceNumber, .invalidProducerEpoch, .duplicateSequenceNumber, .messageTooLarge,
            .corruptMessage, .invalidRecord, .invalidTimestamp, .policyViolation:
            true
        default: false
        }
    }
}
