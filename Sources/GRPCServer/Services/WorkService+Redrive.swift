// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: Work.Redrive.
//
// Behaviour: a share group of the broker's own reads the dead-letter topic from its beginning, and so remembers which letters were
//   put back. Each goes to the topic and partition that its headers name, without those headers and without `not-before`; it is acknowledged
//   when it is durable there. The topic is read in stretches until there are enough letters, or no more, so that letters that are not
//   wanted do not hide others; those are held until the end, and left for another call.

import Bytes
import Contract
import Engine
import GRPCWire
import NIOCore
import Records
import SwiftProtobuf
import Telemetry

extension WorkService {
    private static let defaultRecords = 1_000
    private static let recordsMax = 10_000

    func redrive(_ request: Martlet_V1_RedriveRequest, _ call: GRPCCall) {
        call.authorize { () throws(GRPCStatus) in
            try check(deadLetterTopic: request.deadLetterTopic)
            try call.require(.read, .topic, request.deadLetterTopic)
            if !request.group.isEmpty { try call.require(.read, .group, request.group) }
        } then: { () throws(GRPCStatus) in
            try redriveAllowed(request, call)
        }
    }

    private func redriveAllowed(_ request: Martlet_V1_RedriveRequest, _ call: GRPCCall) throws(GRPCStatus) {
        let topic = try deadLetters(request.deadLetterTopic)
        guard request.maxRecords <= UInt32(Self.recordsMax) else {
            throw .invalid("max_records", "max_records is above the \(Self.recordsMax) allowed")
        }
        let places = topic.partitions.map { SharePlace(topicId: topic.id, partition: $0.index) }
        let redriving = Redriving(
            topic: topic.name, group: request.group, max: request.maxRecords == 0 ? Self.defaultRecords : Int(request.maxRecords), call: call)
        engine.shares.openQueues(ShareCoordinator.redriveGroup, places, on: call.loop) { opened in
            call.timed { redriving.run(opened) }
        }
    }
}

/// One call of Redrive. Confined to the connection's loop.
private final class Redriving: @unchecked Sendable {
    // Unchecked: see above; completions of appends and queues run on that loop.
    /// How long the letters are this call's.
    private static let lockMs: Int64 = 60_000
    /// A call that takes longer leaves the rest to another one: what it skipped must not come again.
    private static let durationMs = lockMs / 2
    /// Letters that are looked at before other calls of the loop have their turn.
    private static let stretch = 1_000

    private let topic: String
    private let group: String
    private let max: Int
    private let call: GRPCCall
    private let member = ShareMemberId("redrive-\(TopicId(random: { .random(in: .min ... .max) }))")
    private var queues: [ShareQueue] = []
    /// To which topics an external policy lets the caller write, and of which it has to be asked still.
    private var rights: [String: Bool] = [:]
    private var unknown: Set<String> = []
    private var redriven = 0
    private var skipped = 0
    private var missing = 0
    private var isRead = false
    private var isAtEnd = false
    private var endsAt = NIODeadline.distantFuture
    private var failure: GRPCStatus?

    init(topic: String, group: String, max: Int, call: GRPCCall) {
        self.topic = topic
        self.group = group
        self.max = max
        self.call = call
    }

    func run(_ opened: [ShareCoordinator.OpenedQueue]) {
        queues = opened.compactMap { try? $0.queue.get() }
        endsAt = call.loop.now + .milliseconds(Self.durationMs)
        run()
    }

    private func run() {
        guard !call.hasEnded else { return finishIfDone() }
        var left = min(max - redriven, Self.stretch)
        isRead = false
        do throws(EngineError) {
            for queue in queues {
                while left > 0 {
                    let limits = ShareFetchLimits(
                        maxRecords: min(left, Limits.itemsPerMessage), maxBytes: Limits.itemBytesPerMessage, isStrict: true,
                        lockDurationMs: Self.lockMs)
                    guard case .acquired(let bytes, let runs) = try queue.fetch(member, limits, on: call.loop) else { break }
                    left -= runs.reduce(0) { $0 + Int($1.count) }
                    put(bytes, runs, of: queue)
                }
            }
        } catch {
            failure = GRPCStatus(error).about("topic", topic)
        }
        isAtEnd = left > 0
        isRead = true
        finishIfDone()
    }

    private func put(_ bytes: ByteBuffer, _ runs: [SharePartition.Run], of queue: ShareQueue) {
        var rest = bytes
        while let header = BatchHeader(rest), let batch = rest.readSlice(length: header.sizeInBytes) {
            guard var reader = try? RecordBatchReader(batch, decompressor: call.connection.decompressor) else { continue }
            while let record = try? reader.next() {
                guard runs.contains(where: { $0.first <= record.offset && record.offset <= $0.last }) else { continue }
                guard let target = target(of: record) else {
                    skipped += 1
                    continue
                }
                put(record, to: target, of: queue)
            }
        }
    }

    private func target(of record: Record) -> Partition? {
        func header(_ name: String) -> String? {
            record.headers.last { $0.key == name }?.value.map { String(buffer: $0) }
        }
        guard group.isEmpty || header(DeadLetterHeader.group) == group,
            let name = header(DeadLetterHeader.topic), let topic = call.engine.topics.topic(named: name), !topic.isInternal,
            mayWrite(name)
        else { return nil }
        let index = header(DeadLetterHeader.partition).flatMap { Int32($0) } ?? 0
        return topic.partition(index) ?? topic.partition(0)
    }

    private func mayWrite(_ name: String) -> Bool {
        if let isAllowed = rights[name] { return isAllowed }
        guard call.asksPolicy else { return call.may(.write, .topic, name) }
        unknown.insert(name)
        return false
    }

    /// Gives back what was left for want of a decision, asks for it, and begins anew.
    private func ask() {
        for queue in queues { queue.release(member, on: call.loop) }
        let names = unknown.sorted()
        unknown = []
        skipped = 0
        call.authorize({ names.map { self.call.may(.write, .topic, $0) } }) { answers in
            for (name, isAllowed) in zip(names, answers) { self.rights[name] = isAllowed }
            self.run()
        }
    }

    private func put(_ record: Record, to target: Partition, of queue: ShareQueue) {
        var builder = RecordBatchBuilder()
        builder.append(
            key: record.key, value: record.value,
            headers: record.headers.filter { !$0.key.hasPrefix(DeadLetterHeader.prefix) && $0.key != "not-before" },
            timestamp: call.engine.clock.nowMs())
        missing += 1
        target.append(builder.finish(), acks: .all, turn: call.connection.turn) { [self] result in
            switch result {
            case .failure(let error):
                failure = failure ?? GRPCStatus(error, of: target)
                missing -= 1
                finishIfDone()
            case .success:
                let done = ShareAcknowledgement(first: record.offset, last: record.offset, outcome: .accept)
                queue.acknowledge([done], member, on: call.loop) { [self] error in
                    if let error { failure = failure ?? GRPCStatus(error).about("topic", topic) } else { redriven += 1 }
                    missing -= 1
                    finishIfDone()
                }
            }
        }
    }

    /// What was put back is no state of the dead-letter topic's: it is told as what there is now.
    private func recordInAudit() {
        call.engine.audit.record(
            AuditEvent(
                .change, call.auditSubject, "Redrive", resource: "dead letters", name: topic, failure == nil ? .succeeded : .failed,
                cause: failure.map { "\($0)" }, after: ["redriven": "\(redriven)", "skipped": "\(skipped)"]))
    }

    private func finishIfDone() {
        guard isRead, missing == 0 else { return }
        if failure == nil, !call.hasEnded, redriven < max, call.loop.now < endsAt {
            if !isAtEnd { return call.loop.execute { self.call.whenMayGoOn { self.run() } } }
            if !unknown.isEmpty { return ask() }
        }
        // What was not wanted, or did not work, is for another call.
        for queue in queues { queue.release(member, on: call.loop) }
        recordInAudit()
        if let failure { return call.fail(failure) }
        call.respond(
            Martlet_V1_RedriveResponse.with {
                $0.redriven = UInt32(redriven)
                $0.skipped = UInt32(skipped)
                $0.hasMore_p = !isAtEnd || !unknown.isEmpty
            })
    }
}
