// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what the disk does, and the broker's upkeep.

import Bytes
import Engine
import Glibc
import NIOCore
import NIOEmbedded
import Records
import Storage

extension Life {
    // MARK: Faults

    func injectFault() {
        let number = pick(0...8)
        trace.note("fault \(number)")
        switch number {
        case 0: disk.inject(SimulatedFault(.write, path: ".log", times: 1, errno: EIO))
        case 1: disk.inject(SimulatedFault(.write, path: ".log", times: pick(1...3), errno: ENOSPC))
        case 2: disk.inject(SimulatedFault(.sync, path: ".log", times: 1, errno: EIO))
        case 3: disk.inject(SimulatedFault(.syncDirectory, skip: pick(0...3), times: 1, errno: EIO))
        case 4: disk.inject(SimulatedFault(.create, path: ".log", times: 1, errno: ENOSPC))
        case 5: disk.inject(SimulatedFault(.read, skip: pick(0...10), times: pick(1...2), errno: EIO))
        case 6: disk.inject(SimulatedFault(.rename, times: 1, errno: EIO))
        case 7: disk.inject(SimulatedFault(.truncate, times: 1, errno: EIO))
        default: disk.limitCapacity(to: disk.usedBytes + Int64(pick(0...3_000)))
        }
    }

    /// Everything works again, but for logs that have failed.
    func calm() {
        disk.removeFaults()
        disk.limitCapacity(to: nil)
    }

    // MARK: Bits that flip

    /// Inverts a bit of something that was synced long ago.
    func flip() {
        guard !disk.hasCrashed else { return }
        switch settings.flips {
        case .none: break
        case .logs: flipLog()
        case .caches: flipCache()
        case .checkpoint: flipCheckpoint()
        }
    }

    private func flipLog() {
        let candidates = model.livePartitions.filter { $0.coldEnd > $0.start }
        guard let partition = pickAny(candidates) else { return }
        var places: [(path: String, position: Int, size: Int, base: Int64)] = []
        for file in disk.files(in: partition.name) where file.hasSuffix(".log") {
            let path = "\(partition.name)/\(file)"
            guard let (bytes, durable) = disk.contents(of: path) else { continue }
            var position = 0
            let buffer = ByteBuffer(bytes: bytes)
            while let header = BatchHeader(buffer.getSlice(at: position, length: min(61, bytes.count - position)) ?? ByteBuffer()),
                header.isWhole(in: bytes.count - position)
            {
                let end = position + header.sizeInBytes
                if end <= durable, header.nextOffset <= partition.coldEnd, header.baseOffset >= partition.start,
                    partition.content[header.baseOffset] != nil, !partition.damaged.contains(header.baseOffset)
                {
                    places.append((path, position, header.sizeInBytes, header.baseOffset))
                }
                position = end
            }
        }
        guard let place = pickAny(places) else { return }
        let byte = place.position + pick(0...place.size - 1)
        trace.note("bit flip in \(place.path) at \(byte), the batch at offset \(place.base)")
        disk.flipBit(pick(0...7), ofByte: byte, in: place.path)
        partition.damaged.insert(place.base)
    }

    /// Index files and producers' snapshots are caches: whatever is in them must not matter.
    private func flipCache() {
        guard let partition = pickAny(model.livePartitions) else { return }
        let files = disk.files(in: partition.name).filter {
            $0.hasSuffix("index") || $0.hasSuffix(".snapshot")
        }
        guard let file = pickAny(files) else { return }
        let path = "\(partition.name)/\(file)"
        guard let size = disk.contents(of: path)?.bytes.count, size > 0 else { return }
        let byte = pick(0...size - 1)
        trace.note("bit flip in \(path) at \(byte)")
        disk.flipBit(pick(0...7), ofByte: byte, in: path)
    }

    private func flipCheckpoint() {
        guard let size = disk.contents(of: "martlet.checkpoint")?.bytes.count, size > 0 else { return }
        trace.note("bit flip in the checkpoint")
        disk.flipBit(pick(0...7), ofByte: pick(0...size - 1), in: "martlet.checkpoint")
        for partition in model.partitions {
            partition.startSaved = 0
            partition.coldEnd = 0
        }
    }

    /// Whether what a checkpoint says can be relied on: in some lives it rots.
    private var trustsCheckpoints: Bool { settings.flips != .checkpoint }

    // MARK: Upkeep

    func checkpoint() {
        guard let broker else { return }
        let before = broker.complaints.count(containing: "checkpoint was not written")
        // Everybody's start as the checkpoint will say it, and how far it describes a log: not what an earlier process has
        // synced after the checkpoint before, as long as this one has not.
        let known = model.livePartitions.compactMap { model in
            broker.partition(model).map { (model, $0.offsets.start, min(model.durableEnd, $0.syncedEndOffset)) }
        }
        trace.note("checkpoint")
        broker.engine.checkpoint()
        guard !disk.hasCrashed, trustsCheckpoints,
            broker.complaints.count(containing: "checkpoint was not written") == before
        else { return }
        for (model, start, durableEnd) in known {
            model.startSaved = max(model.startSaved, start)
            model.coldEnd = max(model.coldEnd, durableEnd)
        }
    }

    func retention() {
        guard let broker else { return }
        let before = model.livePartitions.compactMap { model in
            broker.partition(model).map { (model, $0, $0.offsets.start) }
        }
        trace.note("retention")
        broker.engine.applyRetention()
        if disk.hasCrashed { return }
        for (model, partition, start) in before { checkRetention(model, partition, from: start) }
        broker.loop.run()
    }

    /// Whether retention was entitled to what it removed.
    private func checkRetention(_ model: PartitionModel, _ partition: Partition, from start: Int64) {
        let offsets = partition.offsets
        guard offsets.start > start else { return }
        let overrides = model.incarnation.overrides
        // A change that is under way may be in force already.
        let isSettled = self.model.topics.first { $0.name == model.topic }?.isSettled ?? false
        model.deletedBelow = max(model.deletedBelow, offsets.start)
        guard isSettled, offsets.start > model.askedBelow else { return }
        let retentionMs = overrides["retention.ms"].flatMap { Int64($0) } ?? 604_800_000
        let retentionBytes = overrides["retention.bytes"].flatMap { Int64($0) } ?? -1
        var kept: Int64 = 0
        // What is under way may be in the log and count.
        var areSizesKnown = !model.flying.contains { $0.unresolved > 0 && $0.offset == nil }
        var areExpired = retentionMs >= 0
        for (base, batch) in model.content {
            if base + Int64(batch.count) <= offsets.start, base >= start {
                if clock.nowMs() - batch.maxTimestamp <= retentionMs { areExpired = false }
            } else if base >= offsets.start {
                guard let size = batch.storedBytes else { areSizesKnown = false; continue }
                kept += Int64(size)
            }
        }
        let isSurplus = retentionBytes >= 0 && (!areSizesKnown || kept >= retentionBytes)
        if !areExpired, !isSurplus {
            violate(
                "retention removes only what it may",
                "\(model.name) went from \(start) to \(offsets.start) with retention.ms \(retentionMs) and"
                    + " retention.bytes \(retentionBytes)")
        }
    }

    func rewrite() {
        guard let broker else { return }
        trace.note("rewriting of internal logs")
        broker.engine.rewriteInternalLogs(largerThan: Int64(pick(100...2_000)), on: broker.loop)
    }
}

extension BatchHeader {
    /// Whether these look like the bytes of a batch that ends within `count` bytes.
    fileprivate func isWhole(in count: Int) -> Bool {
        magic == 2 && batchLength >= 49 && sizeInBytes <= count && lastOffsetDelta >= 0
    }
}
