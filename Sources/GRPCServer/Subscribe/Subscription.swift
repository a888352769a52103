// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one subscriber: messages at the pace at which they are taken.
//
//   asked for a message -> records of `SubscriptionReader` appended until the message is full
//                       -> nothing to read: wait for the partitions -> resume
//
// Confined to its connection's loop. A subscriber that is behind holds one read of the log and one message; one that has
// stalled gives the former back and costs its cursor and the message that the peer's window did not take.

import Contract
import Engine
import GRPCWire
import NIOCore
import Records

final class Subscription: GRPCStreamSource, @unchecked Sendable {
    // Unchecked: every entry point runs on the connection's loop; the waiter's closure only holds the reference.
    let call: GRPCCall
    let cursor: Cursor
    var progress: Progress?
    let origin: Martlet_V1_Origin
    private var member: SubscriptionMember?
    var mustTellAssignment = false
    private let filters: RecordFilters?
    private var topics: SubscribedTopics
    private var observer: UInt64?
    private var accessObserver: UInt64?
    /// The group from whose commits it began, or whose member it is.
    private let group: String?
    private let messageBytes: Int
    private let messageRecords: Int
    private var recordsLeft: UInt64
    /// The fields of each position that every one of its batches begins with; made when first needed.
    private var partitionFields: [ByteBuffer?]
    private var reader: SubscriptionReader
    /// How the stream ends, once that is known.
    var ending: GRPCStatus?
    private(set) var productions = 0
    private var stallTimer: Scheduled<Void>?
    private let pace: QuotaPace

    init(
        _ request: Martlet_V1_SubscribeRequest, cursor: Cursor, topics: SubscribedTopics, filters: RecordFilters?,
        call: GRPCCall
    ) {
        self.call = call
        self.cursor = cursor
        self.topics = topics
        self.filters = filters
        pace = QuotaPace(call, .consumerByteRate) { call.resume() }
        group = if request.hasMember { request.member.group } else if case .group(let id)? = request.start { id } else { nil }
        progress = Progress(milliseconds: request.progressIntervalMs)
        origin = request.origin
        reader = SubscriptionReader(cursor, origin: request.origin, named: topics.named)
        messageBytes = request.maxBytesPerMessage == 0 ? Limits.subscribeMessageBytes : Int(request.maxBytesPerMessage)
        messageRecords = request.maxRecordsPerMessage == 0 ? .max : Int(request.maxRecordsPerMessage)
        recordsLeft = request.maxRecords == 0 ? .max : request.maxRecords
        partitionFields = Array(repeating: nil, count: cursor.positions.count)
        if topics.mayChange, !request.untilEnd {
            observer = call.engine.topics.changes.observe(on: call.loop) { [weak self] in self?.topicsChanged() }
        }
        accessObserver = call.engine.access.changes.observe(on: call.loop) { [weak self] in self?.rulesChanged() }
        if call.engine.access.changes.count != call.rulesSeen { call.loop.execute { self.rulesChanged() } }
    }

    func produce(room: Int, into buffer: inout ByteBuffer) -> GRPCProduction {
        productions &+= 1
        member?.isRead()
        if pace.isHeld || call.isOverTime, ending == nil { return .waiting }
        let start = buffer.readableBytes
        defer { pace.charge(buffer.readableBytes - start) }
        if mustTellAssignment, let member {
            writeAssignment(member, into: &buffer)
            return .produced
        }
        if progress?.hasBegun == false {
            // Positions come before records, so that whoever keeps positions knows all of them.
            writeProgress(isCaughtUp: false, into: &buffer)
            return .produced
        }
        let size = pace.messageBytes(atMost: min(messageBytes, max(room, Limits.subscribeMessageBytesMin)))
        var message = Message(
            writer: RecordStreamWriter(into: &buffer), bytesMax: size,
            recordsMax: Int(min(UInt64(messageRecords), recordsLeft)))
        var supply = Supply.more
        do throws(GRPCStatus) {
            if ending == nil { supply = try fill(&message, &buffer) }
        } catch {
            ending = error
        }
        message.endBatch(&buffer)
        message.writer.finish(&buffer)
        if recordsLeft != .max { recordsLeft -= UInt64(message.writer.recordCount) }
        if recordsLeft == 0 || cursor.isFinished { ending = ending ?? .ok }
        if ending == nil || ending?.code == .ok {
            if ending != nil { progress?.isDue = true }
            writeProgress(isCaughtUp: supply == .none || cursor.isFinished, into: &buffer)
        }
        if let ending { return .finished(ending) }
        if buffer.readableBytes > 0 {
            watchForStall()
            return .produced
        }
        if supply == .none {
            waitForRecords()
        } else {
            // Much was read and nothing of it is to be delivered: the loop's other connections come first.
            call.loop.execute { self.call.resume() }
        }
        return .waiting
    }

    func ended() {
        if let observer { call.engine.topics.changes.remove(observer) }
        observer = nil
        if let accessObserver { call.engine.access.changes.remove(accessObserver) }
        accessObserver = nil
        progress?.timer?.cancel()
        progress = nil
        member?.leave()
        member = nil
        cursor.cancel()
        stallTimer?.cancel()
        stallTimer = nil
        pace.end()
        reader.drop()
    }
}

// MARK: - One message

extension Subscription {
    private struct Message {
        var writer: RecordStreamWriter
        let bytesMax: Int
        let recordsMax: Int
        /// The position whose RecordBatch is open.
        var open: Int?

        mutating func endBatch(_ buffer: inout ByteBuffer) {
            if open != nil { writer.endBatch(in: &buffer) }
            open = nil
        }
    }

    /// What is left in the log after a message.
    private enum Supply {
        case more
        case none
    }

    /// Adds records until the message is full, much was looked at, or there is nothing left to read.
    private func fill(_ message: inout Message, _ buffer: inout ByteBuffer) throws(GRPCStatus) -> Supply {
        let start = buffer.writerIndex
        reader.beginMessage()
        while true {
            if !reader.hasBatch {
                let isFull = buffer.writerIndex - start >= message.bytesMax
                if isFull || message.writer.recordCount >= message.recordsMax { return .more }
                switch try reader.nextBatch(call.connection.decompressor) {
                case .some(true): break
                case .some(false): return .none
                case .none: return .more
                }
            }
            switch try append(&message, &buffer) {
            case .batchIsRead:
                reader.finishBatch()
            case .messageIsFull:
                return .more
            case .endIsReached:
                // The offsets up to the end may have no records any more.
                if let end = cursor.positions[reader.position].end { cursor.advance(reader.position, to: end) }
                reader.drop()
            case .recordIsTooLarge(let offset):
                let partition = cursor.positions[reader.position].partition
                throw GRPCStatus(
                    .resourceExhausted, "RECORD_TOO_LARGE", GRPCStatus.place(partition) + [("offset", "\(offset)")],
                    "the record at offset \(offset) of \(partition.name) is larger than the"
                        + " \(RecordStreamWriter.recordBytesMax) bytes that are delivered; subscribe again from offset \(offset + 1)")
            }
        }
    }

    private func append(
        _ message: inout Message, _ buffer: inout ByteBuffer
    ) throws(GRPCStatus) -> RecordStreamWriter.Outcome {
        let index = reader.position
        if message.open != index {
            message.endBatch(&buffer)
            message.writer.beginBatch(fields(index), highWatermark: reader.highWatermark, into: &buffer)
            message.open = index
        }
        let before = message.writer.recordCount
        let sizeBefore = buffer.writerIndex
        defer {
            cursor.positions[index].partition.delivered(
                records: message.writer.recordCount - before, bytes: buffer.writerIndex - sizeBefore)
        }
        return try reader.append(
            to: &message.writer,
            limits: RecordStreamWriter.Limits(
                bytesMax: message.bytesMax, recordsMax: message.recordsMax,
                endOffset: cursor.positions[index].end ?? .max),
            filters: filters, into: &buffer)
    }

    private func fields(_ index: Int) -> ByteBuffer {
        if let fields = partitionFields[index] { return fields }
        let partition = cursor.positions[index].partition
        let fields = RecordStreamWriter.partitionFields(topic: partition.topic, partition: partition.index)
        partitionFields[index] = fields
        return fields
    }
}

// MARK: - Topics that come and go

extension Subscription {
    private func topicsChanged() {
        guard observer != nil else { return }
        let found = topics.additions(call.engine.topics)
        guard !found.isEmpty else { return }
        call.authorize({ found.filter { self.call.mayFind($0.topic) } }) { self.follow($0) }
    }

    /// Partitions that have come and that the caller may read.
    private func follow(_ added: [Partition]) {
        guard observer != nil, !added.isEmpty else { return }
        let present = cursor.positions.lazy.filter { !$0.isGone }.count
        if present + added.count > Limits.partitionsPerRequest {
            ending = GRPCStatus(
                .resourceExhausted, "LIMIT_REACHED", [("limit", "\(Limits.partitionsPerRequest)")],
                "the topics of the subscription have more than \(Limits.partitionsPerRequest) partitions together; share them among several subscriptions")
        } else {
            for partition in added { add(Cursor.Position(partition: partition, offset: partition.offsets.start)) }
        }
        wake()
    }

    /// Access rules are others: what may not be read any more is not. What a pattern has found is passed over, as at its
    /// beginning; what was named, or comes from a group, ends the stream.
    private func rulesChanged() {
        guard accessObserver != nil, ending == nil else { return }
        let read = Set(cursor.positions.lazy.filter { !$0.isGone }.map(\.partition.topic))
        call.authorize { () -> Result<Set<String>, GRPCStatus> in
            do throws(GRPCStatus) { return .success(try self.unreadable(of: read)) } catch { return .failure(error) }
        } then: { outcome in
            guard self.accessObserver != nil, self.ending == nil else { return }
            switch outcome {
            case .success(let topics):
                for (index, position) in self.cursor.positions.enumerated() where topics.contains(position.partition.topic) {
                    self.forget(index)
                }
            case .failure(let status):
                self.reader.drop()
                self.end(status)
            }
        }
    }

    /// Which of these topics are to be passed over. Throws `PERMISSION_DENIED` if there is one that cannot be.
    private func unreadable(of read: Set<String>) throws(GRPCStatus) -> Set<String> {
        if let group { try call.require(.read, .group, group) }
        for topic in read where member != nil || topics.named.contains(topic) { try call.require(.read, .topic, topic) }
        return read.filter { member == nil && !topics.named.contains($0) && !call.mayFind($0) }
    }

    func add(_ position: Cursor.Position) {
        let place = cursor.add(position)
        if place == partitionFields.count { partitionFields.append(nil) } else { partitionFields[place] = nil }
        if let told = progress?.told, place < told.count { progress?.told[place] = (-1, -1) }
    }

    /// Reads this position no more.
    func forget(_ index: Int) {
        cursor.remove(index)
        if reader.position == index { reader.drop() }
    }

    /// Has another look at what there is to send.
    func wake() {
        cursor.cancel()
        call.resume()
    }

    /// Becomes a member of the request's group.
    func join(_ request: Martlet_V1_SubscribeRequest) {
        let member = SubscriptionMember(request, self, call)
        self.member = member
        member.heartbeat()
    }
}

// MARK: - Waiting

extension Subscription {
    private func waitForRecords() {
        stallTimer?.cancel()
        stallTimer = nil
        cursor.wait(on: call.loop) { self.call.resume() }
    }

    /// Gives back what was read ahead if the peer takes nothing for a while: it can be read again.
    private func watchForStall() {
        guard stallTimer == nil, !reader.isEmpty else { return }
        let seen = productions
        stallTimer = call.loop.scheduleTask(in: .seconds(Limits.stalledSubscriberSeconds)) {
            self.stallTimer = nil
            if self.productions == seen { self.reader.drop() } else { self.watchForStall() }
        }
    }
}
