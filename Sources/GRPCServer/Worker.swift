// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one worker: items out, settlements in.
//
//   waiting for `open` --> opening --queues are ready--> working --the caller half-closes--> closing --everything is confirmed--> ended
//
// Confined to its connection's loop. What it has to say is pulled: confirmations first, then items. It holds at most `max_in_flight` items, those included whose settlement is not durable yet,
// and reads no more from the log than fits in that and in the connection's output. An item is known by a number of this
// stream, so that an old one cannot settle the same record's next delivery. Ends of leases are seen here at the moment at which the queue
// gives the record to others, by the same clock.

import Contract
import Engine
import GRPCWire
import NIOCore
import Records

final class Worker: GRPCSession, @unchecked Sendable {
    // Unchecked: every entry point runs on the connection's loop; closures of the engine only hold the reference.
    private struct Item {
        var queue: ShareQueue
        var offset: Int64
        /// Monotonic ms.
        var deadlineMs: Int64
    }

    let call: GRPCCall
    private let service: WorkService
    private(set) var isOpened = false
    private var group = ""
    private var id = ShareMemberId("")
    private var topics: [Topic] = []
    private var maxInFlight = 0
    private var leaseMs: Int64 = 0
    private var queues: [ShareQueue] = []
    /// The queue whose turn it is.
    private var turn = 0
    private var items: [UInt64: Item] = [:]
    private var nextId: UInt64 = 1
    /// Settlements on their way to the disk.
    private var unconfirmed = 0
    /// Answers other than items that wait to be sent.
    private var answers = ByteBuffer()
    private var waiter: Waiter?
    private var leaseTimer: Scheduled<Void>?
    private var accessObserver: UInt64?
    private var isClosing = false
    private var isReadingHeld = false
    private let pace: QuotaPace

    private var shares: ShareCoordinator { call.engine.shares }
    private var nowMs: Int64 { Int64(call.loop.now.uptimeNanoseconds / 1_000_000) }

    init(_ service: WorkService, _ call: GRPCCall) {
        self.service = service
        self.call = call
        pace = QuotaPace(call, .consumerByteRate) { call.resume() }
    }

    // MARK: Requests

    var takesRequests: Bool {
        isReadingHeld = answers.readableBytes > Limits.queuedAnswerBytes
        return !isReadingHeld
    }

    func received(_ message: ByteBuffer) {
        do throws(GRPCStatus) {
            let request: Martlet_V1_ReceiveRequest
            do {
                request = try Martlet_V1_ReceiveRequest(serializedBytes: Array(message.readableBytesView))
            } catch {
                throw GRPCStatus(.invalidArgument, "the request is not a martlet.v1.ReceiveRequest")
            }
            guard let kind = request.kind else {
                throw GRPCStatus(.invalidArgument, "the request has none of open, ack, nack, reject and extend")
            }
            if case .open(let open) = kind {
                guard !isOpened else { throw GRPCStatus(.failedPrecondition, "open came twice") }
                try service.begin(open, self)
            } else {
                guard isOpened else { throw GRPCStatus(.failedPrecondition, "the first request must be open") }
                try settle(kind)
            }
        } catch {
            call.fail(error)
        }
    }

    func requestsEnded() {
        isClosing = true
        waiter?.cancel()
        waiter = nil
        call.resume()
    }

    func drain() {
        call.fail(GRPCStatus(.unavailable, "the broker is shutting down; connect again"))
    }

    private func say(_ answer: Martlet_V1_ReceiveResponse) {
        guard !call.hasEnded else { return }
        Self.write(answer, into: &answers)
        call.resume()
    }

    private static func write(_ answer: Martlet_V1_ReceiveResponse, into buffer: inout ByteBuffer) {
        // Only a missing required field could keep it from being encoded, and proto3 has none.
        guard let bytes: [UInt8] = try? answer.serializedBytes() else { return }
        buffer.writeMessage { $0.writeBytes(bytes) }
    }

    // MARK: Begin and end

    /// A member of its group now.
    func joined(_ open: Martlet_V1_WorkOpen, id: ShareMemberId, topics: [Topic]) {
        isOpened = true
        self.id = id
        self.topics = topics
        group = open.group
        maxInFlight = open.maxInFlight == 0 ? Limits.workItems : Int(open.maxInFlight)
        leaseMs = Int64(open.leaseMs)
        accessObserver = call.engine.access.changes.observe(on: call.loop) { [weak self] in self?.rulesChanged() }
        if call.engine.access.changes.count != call.rulesSeen { rulesChanged() }
    }

    /// Access rules are others: who may not have the work any more gets no more of it, and what it holds is for others.
    private func rulesChanged() {
        guard accessObserver != nil, !call.hasEnded else { return }
        do throws(GRPCStatus) {
            try call.require(.read, .group, group)
            for topic in topics { try call.require(.read, .topic, topic.name) }
        } catch {
            call.fail(error)
        }
    }

    /// Gets the queues ready, answers `open`, and begins to deliver.
    func open() {
        guard !call.hasEnded else { return }
        let settings = shares.settings(of: group)
        if leaseMs == 0 { leaseMs = settings.rules.lockDurationMs }
        openQueues { [self] in
            say(
                Martlet_V1_ReceiveResponse.with {
                    $0.opened.workerID = id.text
                    $0.opened.maxInFlight = UInt32(maxInFlight)
                    $0.opened.leaseMs = UInt32(leaseMs)
                    $0.opened.maxDeliveries = UInt32(settings.rules.deliveryCountLimit)
                    $0.opened.deadLetterTopic = settings.deadLetterTopicName
                })
        }
    }

    private func openQueues(_ done: @escaping () -> Void) {
        let places = topics.flatMap { topic in
            topic.partitions.map { SharePlace(topicId: topic.id, partition: $0.index) }
        }
        let then = NIOLoopBound(done, eventLoop: call.loop)
        shares.openQueues(group, places, on: call.loop) { [self] opened in
            guard !call.hasEnded else { return }
            var ready: [ShareQueue] = []
            for (_, result) in opened {
                switch result {
                case .success(let queue): ready.append(queue)
                case .failure(let error): return call.fail(GRPCStatus(error))
                }
            }
            queues = ready
            then.value()
        }
    }

    /// The stream is over: what it holds is for others.
    func ended() {
        waiter?.cancel()
        waiter = nil
        leaseTimer?.cancel()
        if let accessObserver { call.engine.access.changes.remove(accessObserver) }
        accessObserver = nil
        pace.end()
        items = [:]
        answers = ByteBuffer()
        guard isOpened else { return }
        // It may have been forgotten already, by a broker that stops.
        try? shares.leave(group, id, on: call.loop)
    }

    // MARK: Delivering

    func produce(room: Int, into buffer: inout ByteBuffer) -> GRPCProduction {
        let start = buffer.writerIndex
        if answers.readableBytes > 0 {
            buffer.writeBuffer(&answers)
            answers.clear()
            if isReadingHeld { call.loop.execute { [self] in call.readMore() } }
        }
        do throws(EngineError) {
            try deliver(until: start + max(room, 1), into: &buffer)
        } catch {
            return .finished(GRPCStatus(error))
        }
        if isClosing, unconfirmed == 0 { return .finished(.ok) }
        return buffer.writerIndex > start ? .produced : .waiting
    }

    private var hasSlots: Bool {
        !call.hasEnded && !isClosing && !pace.isHeld && !queues.isEmpty && items.count + unconfirmed < maxInFlight
    }

    /// Delivers what there is and may be delivered, up to about this end of the buffer; waits if there is nothing.
    private func deliver(until end: Int, into buffer: inout ByteBuffer) throws(EngineError) {
        guard hasSlots, buffer.writerIndex < end else { return }
        waiter?.cancel()
        waiter = nil
        var idle: [(queue: ShareQueue, seenEnd: Int64, wake: UInt64)] = []
        while hasSlots, buffer.writerIndex < end, idle.count < queues.count {
            turn = (turn + 1) % queues.count
            let queue = queues[turn]
            let limits = ShareFetchLimits(
                maxRecords: min(maxInFlight - items.count - unconfirmed, Limits.itemsPerMessage),
                maxBytes: pace.messageBytes(atMost: Limits.itemBytesPerMessage), isStrict: true, lockDurationMs: leaseMs)
            switch try queue.fetch(id, limits, on: call.loop) {
            case .nothing(let seenEnd, let wake): idle.append((queue, seenEnd, wake))
            case .acquired(let bytes, let runs):
                idle = []
                try deliver(bytes, runs, of: queue, into: &buffer)
            }
        }
        if hasSlots, idle.count == queues.count { wait(idle) }
    }

    /// How often topics are looked at for new partitions while nothing happens.
    private static let lookAgain = TimeAmount.seconds(5)

    private func wait(_ idle: [(queue: ShareQueue, seenEnd: Int64, wake: UInt64)]) {
        let next = Waiter(loop: call.loop, bytesNeeded: 1) { self.wakened() }
        waiter = next
        next.arm(on: idle.map { ($0.queue.partition, $0.seenEnd) }, deadline: Self.lookAgain)
        for entry in idle { entry.queue.register(next, seen: entry.wake) }
    }

    private func wakened() {
        waiter = nil
        guard !call.hasEnded else { return }
        let count = topics.reduce(0) { $0 + $1.partitionCount }
        if count > queues.count { openQueues { [self] in call.resume() } } else { call.resume() }
    }

    private func deliver(
        _ bytes: ByteBuffer, _ runs: [SharePartition.Run], of queue: ShareQueue, into buffer: inout ByteBuffer
    ) throws(EngineError) {
        let wallMs = call.engine.clock.nowMs()
        let deadlineMs = runs[0].deadlineMs
        let start = buffer.readableBytes
        var found: Set<Int64> = []
        var message = Martlet_V1_WorkItems()
        var size = 0
        func flush(into buffer: inout ByteBuffer) {
            guard !message.items.isEmpty else { return }
            let items = message
            Self.write(Martlet_V1_ReceiveResponse.with { $0.items = items }, into: &buffer)
            message = Martlet_V1_WorkItems()
            size = 0
        }
        do throws(RecordError) {
            try forEachRecord(in: bytes, runs) { record, deliveryCount in
                found.insert(record.offset)
                items[nextId] = Item(queue: queue, offset: record.offset, deadlineMs: deadlineMs)
                let item = Self.item(
                    record, nextId, queue.partition, deliveryCount: deliveryCount, deadlineMs: wallMs + deadlineMs - nowMs)
                nextId += 1
                size += (record.key?.readableBytes ?? 0) + (record.value?.readableBytes ?? 0) + 64
                message.items.append(item)
                if size >= Limits.itemBytesPerMessage { flush(into: &buffer) }
            }
        } catch {
            throw EngineError(.corruptData, "a batch of \(queue.partition.name) cannot be read: \(error)")
        }
        flush(into: &buffer)
        // Of a batch only the jobs in it count that this worker gets.
        let sent = buffer.readableBytes - start
        queue.partition.delivered(records: found.count, bytes: sent)
        pace.charge(sent)
        settleGaps(runs, found, of: queue)
        armLeaseTimer(deadlineMs)
    }

    /// Offsets without a record (compaction has removed it) are done with.
    private func settleGaps(_ runs: [SharePartition.Run], _ found: Set<Int64>, of queue: ShareQueue) {
        let gaps = runs.flatMap { ($0.first...$0.last).filter { !found.contains($0) } }
        guard !gaps.isEmpty else { return }
        queue.acknowledge(
            gaps.map { ShareAcknowledgement(first: $0, last: $0, outcome: .gap) }, id, on: call.loop) { _ in }
    }

    private func forEachRecord(
        in bytes: ByteBuffer, _ runs: [SharePartition.Run], _ body: (Record, Int16) -> Void
    ) throws(RecordError) {
        var rest = bytes
        var run = 0
        while let (header, batch) = try BatchBytes.next(from: &rest) {
            guard !header.isControl, run < runs.count, header.lastOffset >= runs[run].first else { continue }
            guard BatchBytes.isCRCValid(batch, header: header) else {
                throw RecordError(.corruptMessage, "the checksum of the batch at offset \(header.baseOffset) is wrong")
            }
            var reader = try RecordBatchReader(
                batch, decompressor: call.connection.decompressor, limit: Limits.decompressedBatchBytes)
            while run < runs.count, let record = try reader.next() {
                while run < runs.count, runs[run].last < record.offset { run += 1 }
                if run < runs.count, record.offset >= runs[run].first { body(record, runs[run].deliveryCount) }
            }
        }
    }

    private static func item(
        _ record: Record, _ id: UInt64, _ partition: Partition, deliveryCount: Int16, deadlineMs: Int64
    ) -> Martlet_V1_WorkItem {
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
            $0.leaseDeadlineMs = deadlineMs
        }
    }

    // MARK: Leases

    private func armLeaseTimer(_ deadlineMs: Int64) {
        guard leaseTimer == nil, !call.hasEnded else { return }
        leaseTimer = call.loop.scheduleTask(deadline: .uptimeNanoseconds(UInt64(max(0, deadlineMs)) * 1_000_000)) { [self] in
            leaseTimer = nil
            dropExpired()
            if let next = items.values.map(\.deadlineMs).min() { armLeaseTimer(next) }
            call.resume()
        }
    }

    private func dropExpired() {
        let nowMs = nowMs
        items = items.filter { $0.value.deadlineMs > nowMs }
    }
}

// MARK: - What the worker says

extension Worker {
    func settle(_ kind: Martlet_V1_ReceiveRequest.OneOf_Kind) throws(GRPCStatus) {
        switch kind {
        case .open: break
        case .ack(let ack): try settle(ack.deliveryIds, .accept)
        case .nack(let nack):
            guard nack.delayMs <= Limits.nackDelayMsMax else {
                throw GRPCStatus(.invalidArgument, "delay_ms is above the \(Limits.nackDelayMsMax) allowed")
            }
            try settle(nack.deliveryIds, .release(delayMs: Int64(nack.delayMs)))
        case .reject(let reject):
            guard reject.reason.utf8.count <= Limits.rejectReasonBytes else {
                throw GRPCStatus(.invalidArgument, "reason is longer than \(Limits.rejectReasonBytes) bytes")
            }
            try settle(reject.deliveryIds, .reject(reason: reject.reason))
        case .extend(let extend):
            try service.checkLease(extend.leaseMs)
            try settle(
                extend.deliveryIds, .renew(durationMs: extend.leaseMs == 0 ? leaseMs : Int64(extend.leaseMs)))
        }
    }

    private func settle(_ ids: [UInt64], _ outcome: ShareAcknowledgement.Outcome) throws(GRPCStatus) {
        guard (1...Limits.deliveriesPerRequest).contains(ids.count) else {
            throw GRPCStatus(
                .invalidArgument, "delivery_ids has \(ids.count) entries; 1 to \(Limits.deliveriesPerRequest) are allowed")
        }
        dropExpired()
        var unknown: [UInt64] = []
        var held: [ObjectIdentifier: (queue: ShareQueue, items: [(id: UInt64, offset: Int64)])] = [:]
        var seen: Set<UInt64> = []
        for id in ids {
            guard seen.insert(id).inserted, let item = items[id] else {
                unknown.append(id)
                continue
            }
            held[ObjectIdentifier(item.queue), default: (item.queue, [])].items.append((id, item.offset))
        }
        if !unknown.isEmpty { confirm(unknown, .notHeld) }
        for (queue, items) in held.values.map({ ($0.queue, $0.items.sorted { $0.offset < $1.offset }) }) {
            settle(items, outcome, in: queue)
        }
    }

    private func settle(
        _ settled: [(id: UInt64, offset: Int64)], _ outcome: ShareAcknowledgement.Outcome, in queue: ShareQueue
    ) {
        let ids = settled.map(\.id)
        var acknowledgements: [ShareAcknowledgement] = []
        for item in settled {
            if let last = acknowledgements.last, last.last + 1 == item.offset {
                acknowledgements[acknowledgements.count - 1].last = item.offset
            } else {
                acknowledgements.append(ShareAcknowledgement(first: item.offset, last: item.offset, outcome: outcome))
            }
        }
        let isRenewal = outcome.renewalMs != nil
        if !isRenewal { for id in ids { items[id] = nil } }
        unconfirmed += ids.count
        let begunMs = nowMs
        queue.acknowledge(acknowledgements, id, on: call.loop) { [self] error in
            unconfirmed -= ids.count
            guard !call.hasEnded else { return }
            switch error {
            case nil:
                var deadlineMs: Int64 = 0
                if let durationMs = outcome.renewalMs {
                    for id in ids { items[id]?.deadlineMs = begunMs + durationMs }
                    deadlineMs = call.engine.clock.nowMs() + durationMs
                }
                confirm(ids, .done, deadlineMs: deadlineMs)
            case .storageFailure?: confirm(ids, .failed)
            case .invalidRecordState?, .invalidRequest?:
                // All or nothing: one that is lost must not take the others along.
                if settled.count > 1 {
                    for item in settled { settle([item], outcome, in: queue) }
                } else {
                    for id in ids { items[id] = nil }
                    confirm(ids, .notHeld)
                }
            case let error?: call.fail(GRPCStatus(error))
            }
            call.resume()
        }
    }

    private func confirm(_ ids: [UInt64], _ result: Martlet_V1_WorkResult, deadlineMs: Int64 = 0) {
        say(
            Martlet_V1_ReceiveResponse.with {
                $0.confirmed.deliveryIds = ids
                $0.confirmed.result = result
                $0.confirmed.leaseDeadlineMs = deadlineMs
            })
    }
}

extension ShareAcknowledgement.Outcome {
    /// nil: no renewal.
    fileprivate var renewalMs: Int64? { if case .renew(let durationMs?) = self { durationMs } else { nil } }
}
