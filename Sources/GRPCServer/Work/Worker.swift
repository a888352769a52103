// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one worker: items out, settlements in.
//
//   waiting for `open` --> opening --queues are ready--> working --the caller half-closes--> closing --everything is confirmed--> ended
//
// Confined to its connection's loop. What it has to say is pulled: confirmations first, then items. It holds at most `max_in_flight` items, those included whose settlement is not durable yet,
// and reads no more from the log than fits in that and in the connection's output. What it says about items is in
// `Worker+Settling`.

import Bytes
import Contract
import Engine
import GRPCWire
import NIOCore
import Records
import SwiftProtobuf

final class Worker: GRPCSession, @unchecked Sendable {
    // Unchecked: every entry point runs on the connection's loop; closures of the engine only hold the reference.
    let call: GRPCCall
    let service: WorkService
    private(set) var isOpened = false
    /// Nothing more is taken until it is known whether the caller may.
    private var isOpening = false
    private var readsOnWhenOpened = false
    private(set) var group = ""
    private(set) var id = ShareMemberId("")
    private var topics: [Topic] = []
    private var maxInFlight = 0
    private(set) var leaseMs: Int64 = 0
    private var queues: [ShareQueue] = []
    /// The queue whose turn it is.
    private var turn = 0
    var items = HeldItems()
    /// Settlements on their way to the disk.
    var unconfirmed = 0
    /// Answers other than items that wait to be sent.
    private var answers = ByteBuffer()
    private var waiter: Waiter?
    /// How often it was woken since it last delivered something.
    private var wakesInVain = 0
    private var leaseTimer: Scheduled<Void>?
    private var accessObserver: UInt64?
    private var isClosing = false
    private var isReadingHeld = false
    private let pace: QuotaPace

    private var shares: ShareCoordinator { call.engine.shares }
    var nowMs: Int64 { Int64(call.loop.now.uptimeNanoseconds / 1_000_000) }

    init(_ service: WorkService, _ call: GRPCCall) {
        self.service = service
        self.call = call
        pace = QuotaPace(call, .consumerByteRate) { call.resume() }
    }

    // MARK: Requests

    var takesRequests: Bool {
        isReadingHeld = answers.readableBytes > Limits.queuedAnswerBytes
        return !isReadingHeld && !isOpening
    }

    func received(_ message: ByteBuffer) {
        do throws(GRPCStatus) {
            let request: Martlet_V1_ReceiveRequest
            do {
                request = try Martlet_V1_ReceiveRequest(serializedBytes: Array(message.readableBytesView))
            } catch {
                throw .malformed(Martlet_V1_ReceiveRequest.protoMessageName)
            }
            guard let kind = request.kind else {
                throw .invalid("kind", "the request has none of open, ack, nack, reject and extend")
            }
            if case .open(let open) = kind {
                guard !isOpened else { throw GRPCStatus(.failedPrecondition, "OPEN_TWICE", [("group", group)], "open came twice; make another call for other topics") }
                isOpening = true
                service.begin(open, self)
                readsOnWhenOpened = isOpening
            } else {
                guard isOpened else { throw GRPCStatus(.failedPrecondition, "NOT_OPEN", "the first request must be open; send it before others") }
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
        call.fail(.shuttingDown)
    }

    func say(_ answer: Martlet_V1_ReceiveResponse) {
        guard !call.hasEnded else { return }
        WorkItemWriter.write(answer, into: &answers)
        call.resume()
    }

    /// It speaks of items that it has lost, so it is slow, not gone.
    func heard() {
        for queue in queues { queue.heard(from: id, on: call.loop) }
    }

    // MARK: Begin and end

    /// A member of its group now.
    func joined(_ open: Martlet_V1_WorkOpen, id: ShareMemberId, topics: [Topic]) {
        isOpened = true
        isOpening = false
        if readsOnWhenOpened { call.loop.execute { self.call.readMore() } }
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
        call.authorize { () throws(GRPCStatus) in
            try self.call.require(.read, .group, self.group)
            for topic in self.topics { try self.call.require(.read, .topic, topic.name) }
        } then: {}
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
                case .failure(let error): return call.fail(GRPCStatus(error).about("group", group))
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
        items.removeAll()
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
            return .finished(GRPCStatus(error).about("group", group))
        }
        if isClosing, unconfirmed == 0 { return .finished(.ok) }
        return buffer.writerIndex > start ? .produced : .waiting
    }

    private var hasSlots: Bool {
        !call.hasEnded && !isClosing && !pace.isHeld && !call.isOverTime && !queues.isEmpty
            && items.count + unconfirmed < maxInFlight
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
            case .nothing(let seenEnd, let wake):
                idle.append((queue, seenEnd, wake))
                // One that has no time to wait, because there is always work elsewhere, is told here.
                if queue.isClosed, let status = whatIsGone() { return call.loop.execute { [self] in call.fail(status) } }
            case .acquired(let bytes, let runs):
                idle = []
                try deliver(bytes, runs, of: queue, into: &buffer)
            }
        }
        if hasSlots, idle.count == queues.count { wait(idle) }
    }

    /// What was deleted, if anything: it would wake the worker at once, each time, and nobody else of its loop would be served.
    private func whatIsGone() -> GRPCStatus? {
        if let topic = topics.first(where: { call.engine.topics.topic(id: $0.id) == nil }) {
            return .unknown(topic: topic.name, "topic \(topic.name) was deleted; open again without it")
        }
        return queues.contains(where: \.isClosed)
            ? GRPCStatus(.aborted, "GROUP_DELETED", [("group", group)], "the state of group \(group) was deleted; open again") : nil
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
        wakesInVain += 1
        if wakesInVain > 1, let status = whatIsGone() { return call.fail(status) }
        let count = topics.reduce(0) { $0 + $1.partitionCount }
        if count > queues.count { openQueues { [self] in call.resume() } } else { call.resume() }
    }

    private func deliver(
        _ bytes: ByteBuffer, _ runs: [SharePartition.Run], of queue: ShareQueue, into buffer: inout ByteBuffer
    ) throws(EngineError) {
        wakesInVain = 0
        let deadlineMs = runs[0].deadlineMs
        let start = buffer.readableBytes
        var writer = WorkItemWriter(
            queue.partition, runs, leaseDeadlineMs: call.engine.clock.nowMs() + deadlineMs - nowMs)
        do throws(RecordError) {
            try writer.write(bytes, call.connection.decompressor, into: &buffer) { offset in
                items.add(HeldItems.Item(queue: queue, offset: offset, deadlineMs: deadlineMs))
            }
        } catch {
            throw EngineError(.corruptData, "a batch of \(queue.partition.name) cannot be read: \(error)")
        }
        // Of a batch only the jobs in it count that this worker gets.
        let sent = buffer.readableBytes - start
        queue.partition.delivered(records: writer.recordCount, bytes: sent)
        pace.charge(sent)
        settle(gaps: writer.gaps, of: queue)
        armLeaseTimer(deadlineMs)
    }

    /// Offsets without a record are done with.
    private func settle(gaps: [Int64], of queue: ShareQueue) {
        guard !gaps.isEmpty else { return }
        queue.acknowledge(
            gaps.map { ShareAcknowledgement(first: $0, last: $0, outcome: .gap) }, id, on: call.loop) { _ in }
    }

    // MARK: Leases

    private func armLeaseTimer(_ deadlineMs: Int64) {
        guard leaseTimer == nil, !call.hasEnded else { return }
        leaseTimer = call.loop.scheduleTask(deadline: .uptimeNanoseconds(UInt64(max(0, deadlineMs)) * 1_000_000)) { [self] in
            leaseTimer = nil
            items.dropExpired(nowMs: nowMs)
            if let next = items.nextDeadlineMs { armLeaseTimer(next) }
            call.resume()
        }
    }
}
