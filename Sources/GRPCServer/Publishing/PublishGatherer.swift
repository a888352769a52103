// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the records that the calls of one event loop publish in one turn, appended together.
//
//   add ... add (of any call and connection of the loop) -> turn ends -> one batch a partition -> written, synced -> told
//
// One an event loop, confined to it. A batch holds what fits the topic's max.message.bytes, at least one request. A batch
// that the log refuses for one of its records is taken apart and appended request by request, so nobody answers for a
// neighbour's record.

import Bytes
import Engine
import GRPCWire
import NIOCore
import Records
import Synchronization

/// Whoever published: told once for each part of a request, on the loop, in a turn after `add` or later.
protocol Publisher: AnyObject {
    func appended(_ request: UInt64, _ batch: PublishedBatch)
    func refused(_ request: UInt64, _ error: EngineError, of partition: Partition)
}

final class PublishGatherer: TurnGatherer, @unchecked Sendable {
    // Unchecked: see above; completions of the engine run on the loop too.
    private let engine: Engine
    private let turn: Turn
    private let batchBytesMax: Int
    private var topics: [Gathered] = []
    private lazy var decompressor = Decompressor()
    /// Counts turns, for those who change their mind once a turn.
    private(set) var turnNumber: UInt64 = 0

    private struct Part {
        var publisher: any Publisher
        var request: UInt64
        var records: RecordGathering.Part
    }

    /// What was gathered for one topic.
    private struct Gathered {
        var name: ByteBuffer
        var topic: Topic
        var partitions: [Partition]
        var records: RecordGathering
        var parts: [[Part]] = []
    }

    init(engine: Engine, turn: Turn, batchBytesMax: Int) {
        self.engine = engine
        self.turn = turn
        self.batchBytesMax = batchBytesMax
    }

    /// The topic that the next `add` of this turn may use; nil if there is none of this name.
    func find(_ name: ByteBuffer) -> Int? {
        if let known = topics.lastIndex(where: { $0.name == name }) { return known }
        guard let topic = engine.topics.topic(named: String(buffer: name)) else { return nil }
        if topics.isEmpty { turn.beforeWriting(self) }
        var own = ByteBuffer()
        own.writeImmutableBuffer(name)
        topics.append(
            Gathered(
                name: own, topic: topic, partitions: topic.partitions,
                records: RecordGathering(
                    batchBytesMax: min(topic.configuration.rules.maxMessageBytes, batchBytesMax))))
        return topics.count - 1
    }

    /// Takes a request's records, to be appended when the turn ends. Returns how often `publisher` will be told. The request's
    /// bytes are not needed any more afterwards.
    func add(
        _ request: PublishRequestReader, to topic: Int, for publisher: any Publisher, _ number: UInt64,
        unkeyed: (Int) -> Int32
    ) throws(GRPCStatus) -> Int {
        guard !topics[topic].topic.isInternal else {
            throw .internalTopic(topics[topic].topic.name, field: "topic")
        }
        let count = topics[topic].partitions.count
        try topics[topic].records.add(
            request, partitionCount: count, unkeyed: unkeyed(count), nowMs: engine.clock.nowMs())
        for part in topics[topic].records.parts {
            while topics[topic].parts.count <= part.batch { topics[topic].parts.append([]) }
            topics[topic].parts[part.batch].append(Part(publisher: publisher, request: number, records: part))
        }
        return topics[topic].records.parts.count
    }

    func turnEnding() {
        turnNumber &+= 1
        var ready: [Gathered] = []
        swap(&ready, &topics)
        for index in ready.indices {
            for batch in 0..<ready[index].records.count {
                append(
                    ready[index].records.finish(batch), ready[index].parts[batch],
                    to: ready[index].partitions[Int(ready[index].records.partition(of: batch))])
            }
        }
    }

    private func append(_ batch: ByteBuffer, _ parts: [Part], to partition: Partition) {
        let delivery = Delivery(partition: partition, parts: parts)
        partition.append(batch, acks: .all, isBuiltHere: true, turn: turn) { delivery.finish($0) }
        guard let error = delivery.end() else { return }
        guard parts.count > 1, error.isAboutRecords else { return delivery.refuse(error) }
        do throws(RecordError) {
            try appendApart(batch, parts, to: partition)
        } catch {
            preconditionFailure("a batch that was just built cannot be read: \(error)")
        }
    }

    /// Appends each request's records as a batch of its own.
    private func appendApart(_ batch: ByteBuffer, _ parts: [Part], to partition: Partition) throws(RecordError) {
        var reader = try RecordBatchReader(batch, decompressor: decompressor)
        for var part in parts {
            var builder = RecordBatchBuilder()
            for _ in 0..<part.records.count {
                guard let record = try reader.next() else { break }
                builder.append(
                    key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp)
            }
            part.records.first = 0
            append(builder.finish(), [part], to: partition)
        }
    }

    /// Tells those whose records are in one batch. A refusal that comes while the batch is being appended waits for `end`.
    private final class Delivery: @unchecked Sendable {
        // Unchecked: confined to the loop.
        private let partition: Partition
        private let parts: [Part]
        private var isAppending = true
        private var refusal: EngineError?

        init(partition: Partition, parts: [Part]) {
            self.partition = partition
            self.parts = parts
        }

        func finish(_ result: Result<AppendResult, EngineError>) {
            switch result {
            case .success(let appended):
                for part in parts {
                    let place = sabotaged("forgetPlaceInBatch") ? 0 : Int64(part.records.first)
                    part.publisher.appended(
                        part.request,
                        PublishedBatch(
                            partition: partition.index, baseOffset: appended.baseOffset + place,
                            positions: part.records.positions ?? [], logAppendTimeMs: appended.logAppendTimeMs))
                }
            case .failure(let error):
                if isAppending { refusal = error } else { refuse(error) }
            }
        }

        /// The append has been taken, or was refused: with this.
        func end() -> EngineError? {
            isAppending = false
            return refusal
        }

        func refuse(_ error: EngineError) {
            for part in parts { part.publisher.refused(part.request, error, of: partition) }
        }
    }
}

extension EngineError {
    /// Whether other records could have been appended in their place.
    fileprivate var isAboutRecords: Bool {
        switch code {
        case .invalidRecord, .invalidTimestamp, .messageTooLarge, .corruptMessage: true
        default: false
        }
    }
}

/// One gatherer an event loop, made when it is first asked for.
final class PublishGatherers: Sendable {
    private let engine: Engine
    private let batchBytesMax: Int
    private let gatherers = Mutex<[ObjectIdentifier: PublishGatherer]>([:])

    init(engine: Engine, batchBytesMax: Int) {
        self.engine = engine
        self.batchBytesMax = batchBytesMax
    }

    func gatherer(for turn: Turn) -> PublishGatherer {
        gatherers.withLock { gatherers in
            if let known = gatherers[ObjectIdentifier(turn)] { return known }
            let made = PublishGatherer(engine: engine, turn: turn, batchBytesMax: batchBytesMax)
            gatherers[ObjectIdentifier(turn)] = made
            return made
        }
    }
}
