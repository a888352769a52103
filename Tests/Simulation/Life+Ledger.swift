// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what must be true of transactions, as a reader of committed records sees it.
//
// At any time: nothing of an aborted, open or fenced transaction is seen; what is committed is seen once, where it was
// acknowledged, unless an older transaction is still open in front of it; and never a part of a transaction. After a
// start every transaction can be brought to its end, and then everything is readable.

import Bytes
import Engine
import KafkaWire
import NIOCore
import NIOEmbedded
import Records

extension Life {
    /// What a reader of committed records gets of one partition.
    private struct CommittedView {
        var stableEnd: Int64 = 0
        var end: Int64 = 0
        var offsets: [String: Int64] = [:]
    }

    /// In the middle of a life: nothing is brought to its end.
    func checkLedger() throws {
        guard ledger.isThere else { return }
        try compareLedger(isSettled: false)
    }

    func checkLedgerAfterStart() throws {
        guard ledger.isThere, let broker else { return }
        guard broker.engine.topics.topic(named: Ledger.topic) != nil else {
            return violate("topics are as they were last acknowledged", "\(Ledger.topic) is absent")
        }
        var areOver = true
        for actor in transactionActors { areOver = try finish(actor.id) && areOver }
        try compareLedger(isSettled: areOver && violation == nil)
    }

    /// Brings the last transaction of an id to its end; false if a log has failed and it cannot be.
    private func finish(_ id: String) throws -> Bool {
        var code = KafkaErrorCode.concurrentTransactions
        for attempt in 0..<12 where code == .concurrentTransactions {
            // A marker that found the disk full at the start is tried again after a while.
            if attempt >= 3 {
                clock.advance(ms: 10_000)
                broker?.loop.advanceTime(by: .milliseconds(10_000))
            }
            code = try askDurably(InitProducerIdRequest.of(id), version: 4).errorCode
        }
        if code == .none { return true }
        if broker?.engine.allPartitions.allSatisfy({ $0.failure == nil }) == true {
            violate("after a start every transaction comes to its end", "\(id): \(code)")
        }
        return false
    }

    private func compareLedger(isSettled: Bool) throws {
        var views: [CommittedView] = []
        for partition in 0..<Ledger.partitions where violation == nil { views.append(try view(partition)) }
        guard violation == nil else { return }
        for transaction in ledger.transactions where violation == nil {
            check(transaction, views, isSettled: isSettled)
        }
        if isSettled { checkStableEnds(views) }
        // Before that, the offsets of a decided transaction may wait for a disk.
        if isSettled, violation == nil { try checkLedgerOffsets() }
    }

    private func check(_ transaction: LedgerTransaction, _ views: [CommittedView], isSettled: Bool) {
        let seen = transaction.batches.filter { views[Int($0.partition)].offsets[$0.value] != nil }
        if transaction.fate == .aborted {
            if let batch = seen.first {
                violate("nobody sees what was not committed", "\(batch.value) in partition \(batch.partition)")
            }
            return
        }
        for batch in transaction.batches {
            let view = views[Int(batch.partition)]
            guard let found = view.offsets[batch.value] else {
                let isBelow = isSettled || batch.offset.map { $0 < view.stableEnd } ?? false
                if isBelow, transaction.fate == .committed || !seen.isEmpty {
                    violate(
                        transaction.fate == .committed
                            ? "what was committed is seen" : "a transaction is seen as a whole or not at all",
                        "\(batch.value) of transaction \(transaction.number) is not there")
                }
                continue
            }
            if let offset = batch.offset, offset != found {
                violate("what was committed stays where it is", "\(batch.value) is at \(found), not \(offset)")
            }
        }
        // From now on it stays what it is.
        if isSettled, transaction.fate == .unknown, !transaction.batches.isEmpty {
            transaction.fate = seen.isEmpty ? .aborted : .committed
        }
    }

    private func checkStableEnds(_ views: [CommittedView]) {
        for (partition, view) in views.enumerated() where view.stableEnd != view.end {
            violate(
                "without open transactions everything is readable",
                "\(Ledger.topic)-\(partition) is stable up to \(view.stableEnd) of \(view.end)")
        }
    }

    private func checkLedgerOffsets() throws {
        for actor in transactionActors {
            var topic = OffsetFetchRequest.Topic()
            topic.name = Ledger.topic
            topic.partitionIndexes = [0]
            var request = OffsetFetchRequest()
            request.groupId = actor.id
            request.topics = [topic]
            let answer = try askDurably(request, version: 7)
            guard answer.errorCode == .none, let found = answer.topics.first?.partitions.first else { continue }
            let offset = found.committedOffset < 0 ? nil : found.committedOffset
            let allowed = ledger.allowedOffsets(of: actor.id)
            if !allowed.contains(offset) {
                violate(
                    "offsets are committed with their transaction",
                    "\(actor.id) has \(offset.map { "\($0)" } ?? "nothing"), not"
                        + " \(allowed.map { $0.map { "\($0)" } ?? "nothing" })")
            }
        }
    }

    // MARK: Reading

    private func view(_ partition: Int32) throws -> CommittedView {
        var view = CommittedView()
        var next: Int64 = 0
        while violation == nil {
            var wanted = FetchRequest.Partition()
            wanted.partition = partition
            wanted.fetchOffset = next
            wanted.partitionMaxBytes = Int32(pick([1, 400, 1 << 20]))
            var topic = FetchRequest.Topic()
            topic.topic = Ledger.topic
            topic.partitions = [wanted]
            var request = FetchRequest()
            request.isolationLevel = 1
            request.maxBytes = 1 << 20
            request.topics = [topic]
            guard let answer = try askDurably(request, version: 12).topics.first?.partitions.first,
                answer.errorCode == .none
            else {
                // What a loss of power took from the middle of what was not durable; if it was, the comparison misses it.
                let live = broker?.engine.topics.topic(named: Ledger.topic)?.partition(partition)
                if let end = live?.endOfDamage(at: next) {
                    next = end
                    continue
                }
                violate("every offset can be read", "\(Ledger.topic)-\(partition) at \(next)")
                return view
            }
            view.stableEnd = answer.lastStableOffset
            view.end = answer.highWatermark
            let before = next
            next = take(answer, from: next, into: &view)
            if next == before { break }
        }
        if violation == nil, next != view.stableEnd {
            violate(
                "every offset can be read",
                "\(Ledger.topic)-\(partition) ends at \(next), and is stable up to \(view.stableEnd)")
        }
        return view
    }

    /// As a client does: skips what lies between the start of an aborted transaction and its marker.
    private func take(_ answer: FetchResponse.Partition, from offset: Int64, into view: inout CommittedView) -> Int64 {
        guard case .bytes(var bytes) = answer.records else { return offset }
        var waiting = (answer.abortedTransactions ?? []).sorted { $0.firstOffset < $1.firstOffset }[...]
        var aborting: Set<Int64> = []
        var next = offset
        while let header = BatchHeader(bytes), let batch = bytes.readSlice(length: header.sizeInBytes) {
            next = header.nextOffset
            while let first = waiting.first, first.firstOffset <= header.lastOffset {
                aborting.insert(first.producerId)
                waiting.removeFirst()
            }
            if header.isControl {
                if TransactionMarker.read(batch)?.marker == .abort { aborting.remove(header.producerId) }
                continue
            }
            if header.isTransactional, aborting.contains(header.producerId) { continue }
            guard var reader = try? RecordBatchReader(batch, decompressor: decompressor),
                let value = try? reader.next()?.value.map({ String(buffer: $0) }), ledger.transaction(of: value) != nil
            else {
                violate("what is served was sent", "\(Ledger.topic) has something at \(header.baseOffset)")
                return next
            }
            if let known = view.offsets[value] {
                violate("a batch is stored once", "\(value) is at \(known) and at \(header.baseOffset)")
            }
            view.offsets[value] = header.baseOffset
        }
        return next
    }
}
