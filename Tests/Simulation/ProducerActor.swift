// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: a Kafka producer: any acks, some idempotent, with retries after lost connections.

import Bytes
import KafkaWire
import NIOCore
import Records

final class ProducerActor: KafkaActor {
    unowned let life: Life
    let number: Int
    var link: KafkaLink?
    private let acks: Int16
    private let isIdempotent: Bool
    // Of an idempotent producer.
    private var id: Int64 = -1
    private var epoch: Int16 = 0
    private var asksForId = false
    private var sequences: [Int: Int32] = [:]
    /// Batches without a final answer, oldest first; `isOut`: sent on the connection there is now.
    private var queue: [(batch: SentBatch, isOut: Bool)] = []
    /// The last acknowledged one of each partition, to be sent again on purpose.
    private var last: [Int: SentBatch] = [:]

    private static let inFlightMax = 5

    init(_ life: Life, _ number: Int) {
        self.life = life
        self.number = number
        isIdempotent = life.chance(0.45)
        acks = isIdempotent ? -1 : Int16(life.pick([-1, -1, -1, 1, 1, 0]))
    }

    func connect(_ broker: SimulatedBroker) throws {
        link = try KafkaLink(broker) { [unowned self] in life.received($0) }
        asksForId = false
        for index in queue.indices { queue[index].isOut = false }
    }

    func step() throws {
        guard let link = try usableLink() else { return }
        if isIdempotent, id < 0 { return try askForId(link) }
        if isIdempotent, try retry(link) { return }
        let again = last.values.filter { $0.partition.isLive(in: life.model) }
        if isIdempotent, life.chance(0.08), let batch = again.min(by: { $0.number < $1.number }) {
            return try send([batch], link)
        }
        var batches: [SentBatch] = []
        for _ in 0..<(life.chance(0.2) ? 3 : 1) {
            guard let partition = life.pickAny(life.model.livePartitions),
                !batches.contains(where: { $0.partition === partition })
            else { continue }
            if isIdempotent, queue.count(where: { $0.batch.partition === partition }) >= Self.inFlightMax { continue }
            let batch = makeBatch(partition)
            batches.append(batch)
            if isIdempotent { queue.append((batch, true)) }
        }
        if !batches.isEmpty { try send(batches, link) }
    }

    private func askForId(_ link: KafkaLink) throws {
        guard !asksForId else { return }
        asksForId = true
        var request = InitProducerIdRequest()
        request.transactionTimeoutMs = 60_000
        life.trace.note("producer \(number) asks for an id")
        try link.send(request, version: 4) { [unowned self] response in
            asksForId = false
            guard let response, response.errorCode == .none else { return }
            life.noteProducerId(response.producerId)
            id = response.producerId
            epoch = response.producerEpoch
            sequences = [:]
            queue = []
            last = [:]
        }
    }

    /// Sends what got lost again, in order; true if there was something.
    private func retry(_ link: KafkaLink) throws -> Bool {
        queue.removeAll { !$0.batch.partition.isLive(in: life.model) }
        guard let first = queue.first(where: { !$0.isOut })?.batch.partition else { return false }
        let mine = queue.indices.filter { queue[$0].batch.partition === first }
        guard mine.allSatisfy({ !queue[$0].isOut }) else { return false }
        for index in mine {
            queue[index].isOut = true
            life.trace.note("producer \(number) sends #\(queue[index].batch.number) again")
            try send([queue[index].batch], link)
            if !link.isOpen { break }
        }
        return true
    }

    private func makeBatch(_ partition: PartitionModel) -> SentBatch {
        let count = life.pick(1...life.settings.maxRecords)
        let sizes = (0..<count).map { _ in 8 + life.pick(0...life.settings.maxValue) }
        let nowMs = life.clock.nowMs()
        let batch = life.model.makeBatch(partition, sizes: sizes, maxTimestamp: nowMs)
        var compression = CompressionType.none
        if life.settings.compresses { compression = life.pick(CompressionType.allCases) }
        var builder = RecordBatchBuilder(compression: compression)
        if isIdempotent {
            let sequence = sequences[partition.number] ?? 0
            builder.producer = RecordBatchBuilder.Producer(id: id, epoch: epoch, baseSequence: sequence)
            batch.producer = (id, epoch, sequence)
            sequences[partition.number] = sequence + Int32(count)
        }
        for index in 0..<count {
            builder.append(
                key: index % 2 == 0 ? nil : ByteBuffer(integer: batch.firstTag),
                value: ByteBuffer(bytes: batch.value(index)), timestamp: nowMs)
        }
        let bytes = builder.finish()
        batch.bytes = bytes
        if let crc = bytes.getInteger(at: bytes.readerIndex + 17, as: UInt32.self) {
            life.model.register(batch, crc: crc)
        }
        return batch
    }

    private func send(_ batches: [SentBatch], _ link: KafkaLink) throws {
        var request = ProduceRequest()
        request.acks = acks
        request.timeoutMs = 1_000
        for batch in batches {
            var partition = ProduceRequest.Partition()
            partition.index = batch.partition.index
            partition.records = batch.bytes
            if let at = request.topics.firstIndex(where: { $0.name == batch.partition.topic }) {
                request.topics[at].partitions.append(partition)
            } else {
                var topic = ProduceRequest.Topic()
                topic.name = batch.partition.topic
                topic.partitions = [partition]
                request.topics.append(topic)
            }
            batch.unresolved += 1
            batch.partition.noteFlying(batch)
            life.trace.note("producer \(number) sends #\(batch.number) to \(batch.partition.name), acks=\(acks)")
        }
        let version = Int16(life.pick(7...12))
        guard acks != 0 else { return try link.sendAndForget(request, version: version) }
        try link.send(request, version: version) { [unowned self] response in
            guard let response else {
                for batch in batches { lost(batch) }
                return
            }
            for topic in response.topics {
                for answer in topic.partitions {
                    guard let batch = batches.first(where: {
                        $0.partition.topic == topic.name && $0.partition.index == answer.index
                    }) else { continue }
                    finish(batch, answer)
                }
            }
        }
    }

    /// The connection went before the answer came.
    private func lost(_ batch: SentBatch) {
        if let at = queue.firstIndex(where: { $0.batch === batch }) { queue[at].isOut = false }
    }

    private func finish(_ batch: SentBatch, _ answer: ProduceResponse.Partition) {
        let partition = batch.partition
        guard answer.errorCode != .none else {
            queue.removeAll { $0.batch === batch }
            last[partition.number] = batch
            return life.acknowledge(batch, at: answer.baseOffset, acks == 1 ? .written : .durable)
        }
        let isDefinite = life.isDefinite(answer.errorCode, partition)
        life.refuse(batch, isDefinite: isDefinite, "\(answer.errorCode)")
        switch answer.errorCode {
        case .outOfOrderSequenceNumber, .invalidProducerEpoch, .duplicateSequenceNumber:
            // What an idempotent producer does then: it begins anew.
            id = -1
        case .messageTooLarge where isIdempotent:
            id = -1
        default:
            lost(batch)
        }
    }
}

extension PartitionModel {
    /// Whether its topic is still that topic.
    func isLive(in model: Model) -> Bool {
        model.topics.contains { $0.current === incarnation && $0.isSettled }
    }

    func noteFlying(_ batch: SentBatch) {
        if !flying.contains(where: { $0 === batch }) { flying.append(batch) }
    }
}
