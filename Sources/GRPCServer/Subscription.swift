// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one subscriber: from the log to messages, at the pace at which they are taken.
//
//   asked for a message -> batches in hand, or read from the log -> records appended until the message is full
//                       -> nothing to read: wait for the partitions -> resume
//
// Confined to its connection's loop. A subscriber that is behind holds one read of the log (256 KiB, or one larger batch) and
// one message; one that has stalled gives the former back and costs its cursor and the message that the peer's window
// did not take. The cursor moves with what was put into messages.

import Contract
import Engine
import GRPCWire
import NIOCore
import Records
import Storage

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
    private var reading = Reading()
    /// How the stream ends, once that is known.
    var ending: GRPCStatus?
    private(set) var productions = 0
    /// Bytes of the log that were read for the current message.
    private var scanned = 0
    private var stallTimer: Scheduled<Void>?
    private let pace: QuotaPace

    /// What was read from the log and not yet delivered.
    private struct Reading {
        /// Whole batches.
        var bytes = ByteBuffer()
        /// Which of the cursor's positions they belong to, and what the partition's offsets were.
        var position = 0
        var offsets: PartitionOffsets?
        /// Transactions whose batches are not delivered.
        var aborted: [AbortedTransaction] = []
        /// The next offset to deliver.
        var from: Int64 = 0
        var batch: (reader: RecordBatchReader, cursor: RecordCursor)?

        var isEmpty: Bool { batch == nil && bytes.readableBytes == 0 }
    }

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
        if pace.isHeld, ending == nil { return .waiting }
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
        reading = Reading()
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
        scanned = 0
        while true {
            if reading.batch == nil {
                let isFull = buffer.writerIndex - start >= message.bytesMax
                if isFull || message.writer.recordCount >= message.recordsMax { return .more }
                switch try nextBatch() {
                case .some(true): break
                case .some(false): return .none
                case .none: return .more
                }
            }
            let outcome = try append(&message, &buffer)
            cursor.advance(reading.position, to: reading.from)
            switch outcome {
            case .batchIsRead:
                finishBatch()
            case .messageIsFull:
                return .more
            case .endIsReached:
                // The offsets up to the end may have no records any more.
                if let end = cursor.positions[reading.position].end { cursor.advance(reading.position, to: end) }
                dropReading()
            case .recordIsTooLarge(let offset):
                throw GRPCStatus(
                    .resourceExhausted,
                    "the record at offset \(offset) of \(name(reading.position)) is larger than the \(RecordStreamWriter.recordBytesMax)"
                        + " bytes that are delivered; subscribe again from offset \(offset + 1)")
            }
        }
    }

    private func append(
        _ message: inout Message, _ buffer: inout ByteBuffer
    ) throws(GRPCStatus) -> RecordStreamWriter.Outcome {
        guard let (reader, start) = reading.batch else { preconditionFailure("there is a batch to read") }
        var records = start
        let index = reading.position
        if message.open != index {
            message.endBatch(&buffer)
            message.writer.beginBatch(
                fields(index), highWatermark: reading.offsets?.highWatermark ?? 0, into: &buffer)
            message.open = index
        }
        let before = message.writer.recordCount
        let sizeBefore = buffer.writerIndex
        defer {
            reading.batch?.cursor = records
            cursor.positions[index].partition.delivered(
                records: message.writer.recordCount - before, bytes: buffer.writerIndex - sizeBefore)
        }
        do throws(RecordError) {
            return try message.writer.append(
                reader.records, cursor: &records, from: &reading.from,
                limits: RecordStreamWriter.Limits(
                    bytesMax: message.bytesMax, recordsMax: message.recordsMax,
                    endOffset: cursor.positions[index].end ?? .max),
                filters: filters, into: &buffer)
        } catch {
            throw damaged(reader.header, error)
        }
    }

    private func fields(_ index: Int) -> ByteBuffer {
        if let fields = partitionFields[index] { return fields }
        let partition = cursor.positions[index].partition
        let fields = RecordStreamWriter.partitionFields(topic: partition.topic, partition: partition.index)
        partitionFields[index] = fields
        return fields
    }
}

// MARK: - Reading the log

extension Subscription {
    /// Opens the next batch with records to deliver; false if there is none now, nil if enough was looked at for this time.
    private func nextBatch() throws(GRPCStatus) -> Bool? {
        while true {
            if reading.bytes.readableBytes == 0 {
                if scanned >= Limits.subscribeScanBytes { return nil }
                guard try readLog() else { return false }
                scanned += reading.bytes.readableBytes
            }
            do throws(RecordError) {
                guard let (header, bytes) = try BatchBytes.next(from: &reading.bytes) else {
                    throw RecordError(.corruptMessage, "the log ends in the middle of a batch")
                }
                // Control batches mark the ends of transactions; they hold nothing for a reader (KIP-98).
                let isHidden = header.isControl || reading.aborted.contains { $0.contains(header) }
                if isHidden || header.nextOffset <= reading.from {
                    skip(header)
                    continue
                }
                // A Kafka consumer checks this itself; here nobody else can. The base offset lies outside the checksum.
                guard BatchBytes.isCRCValid(bytes, header: header), header.baseOffset <= reading.from else {
                    throw RecordError(.corruptMessage, "its checksum or its offset is wrong")
                }
                let reader = try RecordBatchReader(
                    bytes, decompressor: call.connection.decompressor, limit: Limits.decompressedBatchBytes)
                reading.batch = (reader, reader.start)
                return true
            } catch {
                throw damaged(nil, error)
            }
        }
    }

    /// Reads what comes next in one of the partitions; false if all are read.
    private func readLog() throws(GRPCStatus) -> Bool {
        while true {
            do throws(EngineError) {
                guard let chunk = try cursor.next(maxBytes: Limits.subscribeReadBytes) else {
                    reading.bytes = ByteBuffer()
                    return false
                }
                reading.position = chunk.position
                reading.offsets = chunk.offsets
                reading.from = chunk.from
                reading.aborted = chunk.aborted
                reading.bytes.clear()
                do throws(StorageError) {
                    try chunk.slice.read(into: &reading.bytes)
                } catch {
                    throw EngineError(error)
                }
                return true
            } catch {
                if error.code == .unknownTopic, leave(cursor.current) { continue }
                guard error.code == .offsetOutOfRange, try skipToOrigin() else { throw GRPCStatus(error) }
            }
        }
    }

    /// Retention has removed what came next: goes on at the origin, if the caller chose one.
    private func skipToOrigin() throws(GRPCStatus) -> Bool {
        var hasMoved = false
        for (index, position) in cursor.positions.enumerated() {
            let offsets = position.partition.offsets
            guard position.offset < offsets.start else { continue }
            guard let offset = origin.offset(offsets) else {
                throw GRPCStatus(
                    .outOfRange,
                    "offsets \(position.offset) to \(offsets.start - 1) of \(position.partition.name) were removed by retention"
                        + " before they were read; set origin to go on behind such a gap")
            }
            cursor.advance(index, to: offset)
            hasMoved = true
        }
        return hasMoved
    }

    private func finishBatch() {
        guard let header = reading.batch?.reader.header else { return }
        reading.batch = nil
        skip(header)
    }

    private func skip(_ header: BatchHeader) {
        reading.from = max(reading.from, header.nextOffset)
        cursor.advance(reading.position, to: reading.from)
    }

    private func dropReading() {
        reading.batch = nil
        reading.bytes = ByteBuffer()
    }

    private func damaged(_ header: BatchHeader?, _ error: RecordError) -> GRPCStatus {
        let at = "offset \(header?.baseOffset ?? reading.from) of \(name(reading.position))"
        return error.code == .decompressedTooLarge
            ? GRPCStatus(.resourceExhausted, "the batch at \(at): \(error.message)")
            : GRPCStatus(.dataLoss, "the batch at \(at) cannot be read: \(error.message)")
    }

    private func name(_ position: Int) -> String { cursor.positions[position].partition.name }
}

// MARK: - Topics that come and go

extension Subscription {
    /// Forgets a topic that was deleted, if the subscription does without it.
    private func leave(_ index: Int) -> Bool {
        guard !topics.named.contains(cursor.positions[index].partition.topic) else { return false }
        cursor.remove(index)
        return true
    }

    private func topicsChanged() {
        guard observer != nil else { return }
        let added = topics.additions(call.engine.topics).filter { call.may(.read, .topic, $0.topic) }
        guard !added.isEmpty else { return }
        let present = cursor.positions.lazy.filter { !$0.isGone }.count
        if present + added.count > Limits.partitionsPerRequest {
            ending = GRPCStatus(
                .resourceExhausted,
                "the topics of the subscription have more than \(Limits.partitionsPerRequest) partitions together")
        } else {
            for partition in added { add(Cursor.Position(partition: partition, offset: partition.offsets.start)) }
        }
        wake()
    }

    /// Access rules are others: what may not be read any more is not. What a pattern has found is passed over, as at its
    /// beginning; what was named, or comes from a group, ends the stream.
    private func rulesChanged() {
        guard accessObserver != nil, ending == nil else { return }
        do throws(GRPCStatus) {
            if let group { try call.require(.read, .group, group) }
            var allowed: [String: Bool] = [:]
            for (index, position) in cursor.positions.enumerated() where !position.isGone {
                let topic = position.partition.topic
                let isPassedOver = member == nil && !topics.named.contains(topic)
                if allowed[topic] == nil {
                    if !isPassedOver { try call.require(.read, .topic, topic) }
                    allowed[topic] = !isPassedOver || call.may(.read, .topic, topic)
                }
                if allowed[topic] == false { forget(index) }
            }
        } catch {
            dropReading()
            end(error)
        }
    }

    func add(_ position: Cursor.Position) {
        let place = cursor.add(position)
        if place == partitionFields.count { partitionFields.append(nil) } else { partitionFields[place] = nil }
        if let told = progress?.told, place < told.count { progress?.told[place] = (-1, -1) }
    }

    /// Reads this position no more.
    func forget(_ index: Int) {
        cursor.remove(index)
        if reading.position == index { dropReading() }
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
        guard stallTimer == nil, !reading.isEmpty else { return }
        let seen = productions
        stallTimer = call.loop.scheduleTask(in: .seconds(Limits.stalledSubscriberSeconds)) {
            self.stallTimer = nil
            if self.productions == seen { self.dropReading() } else { self.watchForStall() }
        }
    }
}
