// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one call of Streams.PublishStream: requests in, results out in the same order.
//
//   request -> gathered -> appended | refused -> every request before it has its result -> written
//
// Confined to its connection's loop. What it holds is bounded by the bytes of the requests without a written result: at the
// limit no more are taken, and HTTP/2's window stops the caller. A request whose refusal means that no later one could be
// served ends the stream when its turn to be answered comes.

import Engine
import GRPCWire
import NIOCore

final class PublishStream: GRPCSession, @unchecked Sendable {
    // Unchecked: see above.
    private let call: GRPCCall
    private let engine: Engine
    private let gatherer: PublishGatherer
    /// Requests without a written result, from `head` on; the one at `head` is number `firstRequest`.
    private var outstanding: [Outstanding] = []
    private var head = 0
    private var firstRequest: UInt64 = 0
    private var bytesHeld = 0
    private var isFull = false
    private var topic: ByteBuffer?
    /// A topic is being created for the last request.
    private var isCreating = false
    /// Whether the last request may be served is not known yet.
    private var isDeciding = false
    private var hasEndOfRequests = false
    private var isDraining = false
    private var hasFailed = false
    private var allowed: (turn: UInt64, topic: ByteBuffer)?
    private var unkeyed: (turn: UInt64, partition: Int32)?
    private let pace: QuotaPace

    private struct Outstanding {
        /// Parts that have not been answered yet.
        var missing: Int
        var bytes: Int
        var batch: PublishedBatch?
        var otherBatches: [PublishedBatch] = []
        var refusal: (status: GRPCStatus, endsStream: Bool)?
    }

    init(_ call: GRPCCall) {
        self.call = call
        engine = call.engine
        gatherer = call.connection.gatherer
        pace = QuotaPace(call, .producerByteRate) { call.readMore() }
    }

    var takesRequests: Bool { !isFull && !isCreating && !isDeciding && !isDraining && !hasFailed && !pace.isHeld }

    func received(_ message: ByteBuffer) {
        pace.charge(message.readableBytes)
        let request: PublishRequestReader
        do throws(GRPCStatus) {
            request = try PublishRequestReader(parsing: message)
        } catch {
            let number = begin(bytes: message.readableBytes)
            return refuse(outstanding.count - 1, error.about("request", "\(number)"), endsStream: true)
        }
        let number = begin(bytes: message.readableBytes)
        do throws(GRPCStatus) {
            try request.check()
            if let name = request.topicBytes, name != topic {
                var own = ByteBuffer()
                own.writeImmutableBuffer(name)
                topic = own
            }
            guard let topic else {
                throw .invalid("topic", "topic is empty in the stream's first request; name the topic to write to")
            }
            guard isAllowed(topic), let found = gatherer.find(topic) else { return decide(topic, message, number) }
            try add(request, to: found, number)
        } catch {
            refuse(outstanding.count - 1, named(error), endsStream: false)
        }
    }

    /// The error of a request, with the topic that it went to.
    private func named(_ error: GRPCStatus) -> GRPCStatus {
        topic.map { error.about("topic", String(buffer: $0)) } ?? error
    }

    func requestsEnded() {
        hasEndOfRequests = true
        call.resume()
    }

    func drain() {
        isDraining = true
        call.resume()
    }

    func ended() {
        pace.end()
        hasFailed = true
        outstanding = []
        head = 0
    }

    // MARK: Requests

    @discardableResult private func begin(bytes: Int) -> UInt64 {
        let held = bytes + Limits.heldRequestBytes
        outstanding.append(Outstanding(missing: 0, bytes: held))
        bytesHeld += held
        if bytesHeld >= Limits.publishStreamBytes { isFull = true }
        return firstRequest + UInt64(outstanding.count - 1 - head)
    }

    /// Once a turn and topic: rules change while a stream lasts.
    private func isAllowed(_ name: ByteBuffer) -> Bool {
        allowed.map { $0.turn == gatherer.turnNumber && $0.topic == name } ?? false
    }

    /// Takes no more requests until it is known whether the caller may: order is kept.
    private func decide(_ name: ByteBuffer, _ message: ByteBuffer, _ number: UInt64) {
        isDeciding = true
        outstanding[outstanding.count - 1].missing = 1
        let topic = String(buffer: name)
        let own = call.asksPolicy ? Self.copy(message) : message
        var isWaiting = false
        call.authorize({ () -> Result<Void, GRPCStatus> in
            do throws(GRPCStatus) {
                try self.call.require(.write, .topic, topic)
                let isMade = self.engine.configuration.autoCreateTopics && self.engine.topics.topic(named: topic) == nil
                if isMade { try self.call.requireCreation(of: topic) }
                return .success(())
            } catch {
                return .failure(error)
            }
        }) { result in
            self.decided(result, name, own, number)
            if isWaiting { self.call.readMore() }
        }
        isWaiting = true
    }

    private func decided(_ result: Result<Void, GRPCStatus>, _ name: ByteBuffer, _ message: ByteBuffer, _ number: UInt64) {
        guard isDeciding, !hasFailed else { return }
        isDeciding = false
        let last = outstanding.count - 1
        outstanding[last].missing = 0
        do throws(GRPCStatus) {
            try result.get()
            allowed = (gatherer.turnNumber, name)
            guard let found = gatherer.find(name) else { return try createTopic(name, for: message, number) }
            try add(try PublishRequestReader(parsing: message), to: found, number)
        } catch {
            refuse(last, named(error), endsStream: false)
        }
    }

    /// For longer than the current read, whose bytes it shares.
    private static func copy(_ message: ByteBuffer) -> ByteBuffer {
        var own = ByteBuffer()
        own.writeImmutableBuffer(message)
        return own
    }

    private func add(_ request: PublishRequestReader, to topic: Int, _ number: UInt64) throws(GRPCStatus) {
        outstanding[outstanding.count - 1].missing = try gatherer.add(
            request, to: topic, for: self, number, unkeyed: unkeyedPartition)
    }

    /// The same one for all records of a turn, so that they share a batch.
    private func unkeyedPartition(of count: Int) -> Int32 {
        if let unkeyed, unkeyed.turn == gatherer.turnNumber, unkeyed.partition < Int32(count) { return unkeyed.partition }
        let partition = call.connection.nextUnkeyedPartition(of: count)
        unkeyed = (gatherer.turnNumber, partition)
        return partition
    }

    /// Takes no more requests until the topic is there, or is known not to be: order is kept.
    private func createTopic(_ name: ByteBuffer, for message: ByteBuffer, _ number: UInt64) throws(GRPCStatus) {
        let name = String(buffer: name)
        guard !Engine.isOwnTopic(name) else { throw .internalTopic(name, field: "topic") }
        guard engine.configuration.autoCreateTopics else {
            throw GRPCStatus.unknown(
                topic: name, "topic \(name) does not exist and is not created automatically; create it first")
        }
        try call.requireCreation(of: name)
        isCreating = true
        outstanding[outstanding.count - 1].missing = 1
        let own = Self.copy(message)
        engine.topics.topicOrCreate(TopicSpecification(name: name), on: call.loop).whenComplete { result in
            self.created(
                result.mapError { GRPCStatus(creating: $0, topic: name, nameField: "topic") }, own, number)
        }
    }

    private func created(_ result: Result<Topic, GRPCStatus>, _ message: ByteBuffer, _ number: UInt64) {
        guard isCreating, !hasFailed else { return }
        isCreating = false
        let last = outstanding.count - 1
        outstanding[last].missing = 0
        do throws(GRPCStatus) {
            let topic = try result.get()
            guard let found = gatherer.find(ByteBuffer(string: topic.name)) else {
                throw GRPCStatus.unknown(topic: topic.name, "topic \(topic.name) was deleted")
            }
            try add(try PublishRequestReader(parsing: message), to: found, number)
        } catch {
            refuse(last, named(error), endsStream: false)
        }
        call.readMore()
    }
}

// MARK: - Results

extension PublishStream: Publisher {
    func appended(_ request: UInt64, _ batch: PublishedBatch) {
        guard let index = index(of: request) else { return }
        outstanding[index].missing -= 1
        if outstanding[index].batch == nil {
            outstanding[index].batch = batch
        } else {
            outstanding[index].otherBatches.append(batch)
        }
        if index == head { call.resume() }
    }

    func refused(_ request: UInt64, _ error: EngineError, of partition: Partition) {
        guard let index = index(of: request) else { return }
        outstanding[index].missing -= 1
        let status = GRPCStatus(publishing: error, to: partition)
        refuse(index, error.endsStreams ? status.about("request", "\(request)") : status, endsStream: error.endsStreams)
    }

    private func index(of request: UInt64) -> Int? {
        guard !hasFailed || !outstanding.isEmpty, request >= firstRequest else { return nil }
        let index = head + Int(request - firstRequest)
        return index < outstanding.count ? index : nil
    }

    private func refuse(_ index: Int, _ status: GRPCStatus, endsStream: Bool) {
        if outstanding[index].refusal == nil { outstanding[index].refusal = (status, endsStream) }
        if endsStream { hasFailed = true }
        if index == head { call.resume() }
    }

    func produce(room: Int, into buffer: inout ByteBuffer) -> GRPCProduction {
        let size = min(Limits.publishResultsBytes, max(room, 1024))
        if head < outstanding.count, outstanding[head].missing == 0 {
            if let refusal = outstanding[head].refusal, refusal.endsStream { return .finished(refusal.status) }
            buffer.writeMessage { writeResults(size, &$0) }
        }
        if head == outstanding.count {
            outstanding.removeAll(keepingCapacity: outstanding.count <= 4096)
            head = 0
            if isDraining { return .finished(.shuttingDown) }
            if hasEndOfRequests { return .finished(.ok) }
        }
        if isFull, bytesHeld < Limits.publishStreamBytes / 2 {
            isFull = false
            call.readMore()
        }
        return buffer.readableBytes > 0 ? .produced : .waiting
    }

    /// Writes results in order, up to one that is not known yet or ends the stream.
    private func writeResults(_ size: Int, _ buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        while head < outstanding.count, outstanding[head].missing == 0, buffer.writerIndex - start < size {
            let request = outstanding[head]
            if let (status, endsStream) = request.refusal {
                if endsStream { break }
                call.lastRefusal = status.code
                let batches = (request.batch.map { [$0] } ?? []) + request.otherBatches
                PublishResultWriter.write(firstRequest, batches, refused: status, into: &buffer)
            } else if request.otherBatches.isEmpty, let batch = request.batch {
                call.lastRefusal = nil
                PublishResultWriter.write(firstRequest, batch, into: &buffer)
            } else {
                call.lastRefusal = nil
                PublishResultWriter.write(
                    firstRequest, (request.batch.map { [$0] } ?? []) + request.otherBatches, into: &buffer)
            }
            bytesHeld -= request.bytes
            outstanding[head].otherBatches = []
            head += 1
            firstRequest += 1
        }
        if head > 1024, head * 2 > outstanding.count {
            outstanding.removeFirst(head)
            head = 0
        }
    }
}

extension EngineError {
    /// Whether whatever comes next would be refused as well.
    fileprivate var endsStreams: Bool {
        switch code {
        case .storageFull, .logReadOnly, .storageFailure, .tooManyOpenFiles, .shuttingDown: true
        default: false
        }
    }
}
