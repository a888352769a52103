// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: a transactional producer: writes and commits offsets in transactions of either version, ends
// them or walks away, and now and then speaks up again as the one it was before.
//
// Each time it initialises itself it decides for version 1 (KIP-98) or 2 (KIP-890). One request is under way at a time.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Records

final class TransactionActor: KafkaActor {
    unowned let life: Life
    let id: String
    var link: KafkaLink?
    private var state = State.outside
    private var isWaiting = false
    private var isVersionTwo = false
    private var me = Identity()
    /// Whom the last initialisation has fenced.
    private var zombie: Identity?
    private var current: LedgerTransaction?
    private var stepsLeft = 0
    private var added: Set<Int32> = []
    private var offsetCount: Int64 = 0

    private enum State { case outside, ready, open, ending }

    private struct Identity {
        var producerId: Int64 = -1
        var epoch: Int16 = -1
        /// By partition.
        var sequences: [Int32: Int32] = [:]
    }

    init(_ life: Life, _ number: Int) {
        self.life = life
        id = "ledger-\(number)"
    }

    func connect(_ broker: SimulatedBroker) throws {
        link = try KafkaLink(broker) { [unowned self] in life.received($0) }
        isWaiting = false
        // Only a client of version 2 can ask again for the end of its transaction.
        if state != .ending || !isVersionTwo || life.chance(0.3) { state = .outside }
    }

    func step() throws {
        guard let link = try usableLink() else { return }
        if isWaiting {
            // The answer is lost.
            if life.chance(0.04) { link.close() }
            return
        }
        guard life.ledger.isThere else { return try createTopic(link) }
        if let zombie, state != .outside, life.chance(0.1) { return try haunt(link, zombie) }
        switch state {
        case .outside: try initialise(link)
        case .ready: begin()
        case .open where life.chance(0.05):
            life.trace.note("\(id) walks away")
            state = .outside
        case .open where stepsLeft > 0: try write(link)
        case .open where stepsLeft == 0 && life.chance(0.4): try commitOffset(link)
        case .open:
            current?.fate = life.chance(0.3) ? .aborted : .unknown
            try end(link)
        case .ending: try end(link)
        }
    }

    private func send<Request: KafkaRequest>(
        _ request: Request, _ version: Int16, _ link: KafkaLink, answer: @escaping (Request.Response?) -> Void
    ) throws {
        isWaiting = true
        try link.send(request, version: version) { [unowned self] response in
            isWaiting = false
            answer(response)
        }
    }

    // MARK: Beginning

    private func createTopic(_ link: KafkaLink) throws {
        let request = CreateTopicsRequest.kept(Ledger.topic, partitions: Ledger.partitions)
        try send(request, 5, link) { [unowned self] response in
            let code = response?.topics.first?.errorCode
            // A name is taken already while its topic is being made.
            let isKnown = life.broker?.engine.topics.topic(named: Ledger.topic) != nil
            if code == KafkaErrorCode.none || code == .topicAlreadyExists && isKnown { life.ledger.isThere = true }
        }
    }

    private func initialise(_ link: KafkaLink) throws {
        isVersionTwo = life.chance(0.5)
        life.trace.note("\(id) initialises itself, version \(isVersionTwo ? 2 : 1)")
        try send(InitProducerIdRequest.of(id), 4, link) { [unowned self] response in
            guard let response, response.errorCode == .none else { return }
            if me.producerId >= 0 { zombie = me }
            if response.producerId != me.producerId { life.noteProducerId(response.producerId) }
            me = Identity(producerId: response.producerId, epoch: response.producerEpoch)
            state = .ready
        }
    }

    private func begin() {
        current = life.ledger.begin(owner: id)
        stepsLeft = life.pick(1...3)
        added = []
        state = .open
    }

    // MARK: In a transaction

    private func write(_ link: KafkaLink) throws {
        guard let current else { return }
        let partition = Int32(life.pick(0...Int(Ledger.partitions) - 1))
        if !isVersionTwo, !added.contains(partition) { return try add(partition, link) }
        stepsLeft -= 1
        let value = life.ledger.add(to: current, partition: partition)
        let at = current.batches.count - 1
        let request = produce(value, partition, me)
        me.sequences[partition, default: 0] += 1
        try send(request, isVersionTwo ? 12 : Int16(life.pick(7...11)), link) { [unowned self] response in
            let answer = response?.topics.first?.partitions.first
            guard let answer, answer.errorCode == .none else {
                life.trace.note("\(id): \(value) was not taken: \(answer.map { "\($0.errorCode)" } ?? "no answer")")
                return state = .outside
            }
            life.report.acknowledged += 1
            current.batches[at].offset = answer.baseOffset
        }
    }

    private func add(_ partition: Int32, _ link: KafkaLink) throws {
        var topic = AddPartitionsToTxnRequest.Topic()
        topic.name = Ledger.topic
        topic.partitions = [partition]
        var request = AddPartitionsToTxnRequest()
        request.v3AndBelowTransactionalId = id
        request.v3AndBelowProducerId = me.producerId
        request.v3AndBelowProducerEpoch = me.epoch
        request.v3AndBelowTopics = [topic]
        try send(request, Int16(life.pick(0...3)), link) { [unowned self] response in
            let code = response?.resultsByTopicV3AndBelow.first?.resultsByPartition.first?.partitionErrorCode
            guard code == KafkaErrorCode.none else { return state = .outside }
            added.insert(partition)
        }
    }

    private func produce(_ value: String, _ partition: Int32, _ identity: Identity) -> ProduceRequest {
        var builder = RecordBatchBuilder(
            producer: .init(
                id: identity.producerId, epoch: identity.epoch, baseSequence: identity.sequences[partition] ?? 0))
        builder.isTransactional = true
        builder.append(key: nil, value: ByteBuffer(string: value), timestamp: life.clock.nowMs())
        var target = ProduceRequest.Partition()
        target.index = partition
        target.records = builder.finish()
        var topic = ProduceRequest.Topic()
        topic.name = Ledger.topic
        topic.partitions = [target]
        var request = ProduceRequest()
        request.transactionalId = id
        request.acks = -1
        request.timeoutMs = 1_000
        request.topics = [topic]
        return request
    }

    private func commitOffset(_ link: KafkaLink) throws {
        stepsLeft = -1
        guard isVersionTwo else {
            var request = AddOffsetsToTxnRequest()
            request.transactionalId = id
            request.producerId = me.producerId
            request.producerEpoch = me.epoch
            request.groupId = id
            return try send(request, Int16(life.pick(0...4)), link) { [unowned self] response in
                guard response?.errorCode == KafkaErrorCode.none, let link = self.link, link.isOpen else {
                    return state = .outside
                }
                do { try sendOffset(link, Int16(life.pick(0...4))) } catch { state = .outside }
            }
        }
        try sendOffset(link, 5)
    }

    private func sendOffset(_ link: KafkaLink, _ version: Int16) throws {
        offsetCount += 1
        let offset = offsetCount
        current?.offset = offset
        var position = TxnOffsetCommitRequest.Partition()
        position.committedOffset = offset
        var topic = TxnOffsetCommitRequest.Topic()
        topic.name = Ledger.topic
        topic.partitions = [position]
        var request = TxnOffsetCommitRequest()
        request.transactionalId = id
        request.groupId = id
        request.producerId = me.producerId
        request.producerEpoch = me.epoch
        request.topics = [topic]
        try send(request, version, link) { [unowned self] response in
            let code = response?.topics.first?.partitions.first?.errorCode
            life.trace.note("\(id) gives offset \(offset): \(code.map { "\($0)" } ?? "no answer")")
            if code != KafkaErrorCode.none { state = .outside }
        }
    }

    // MARK: Ending

    /// As `current` says; `unknown` is what is to be committed.
    private func end(_ link: KafkaLink) throws {
        guard let current else { return state = .outside }
        let commits = current.fate != .aborted
        let isFirst = state == .open
        state = .ending
        let how = isFirst ? "" : " again"
        life.trace.note("\(id) \(commits ? "commits" : "aborts") transaction \(current.number)\(how)")
        let request = EndTxnRequest.of(id, me.producerId, me.epoch, commits: commits)
        try send(request, isVersionTwo ? 5 : Int16(life.pick(0...4)), link) { [unowned self] response in
            guard let response else { return }
            life.trace.note("\(id): transaction \(current.number) ended: \(response.errorCode)")
            switch response.errorCode {
            case .none:
                if commits { current.fate = .committed }
                if isVersionTwo {
                    me = Identity(producerId: response.producerId, epoch: response.producerEpoch)
                }
                state = .ready
            case .concurrentTransactions: break
            case .invalidTxnState, .producerFenced, .invalidProducerEpoch, .invalidProducerIdMapping:
                // Refused at once, so nothing of it was done.
                if isFirst { current.fate = .aborted }
                state = .outside
            default: state = .outside
            }
        }
    }

    /// Who was fenced is refused, and nobody sees what it writes.
    private func haunt(_ link: KafkaLink, _ zombie: Identity) throws {
        if life.chance(0.5) {
            let request = EndTxnRequest.of(id, zombie.producerId, zombie.epoch, commits: life.chance(0.5))
            return try send(request, life.pick([1, 3, 5]), link) { [unowned self] response in
                if response?.errorCode == KafkaErrorCode.none {
                    life.violate("who was fenced is refused", "\(id) ended a transaction with epoch \(zombie.epoch)")
                }
            }
        }
        let partition = Int32(life.pick(0...Int(Ledger.partitions) - 1))
        let lost = life.ledger.begin(owner: id)
        let request = produce(life.ledger.add(to: lost, partition: partition), partition, zombie)
        try send(request, life.pick([9, 11, 12]), link) { [unowned self] response in
            if response?.topics.first?.partitions.first?.errorCode == KafkaErrorCode.none {
                life.violate("who was fenced is refused", "\(id) wrote with epoch \(zombie.epoch)")
            }
        }
    }
}

extension InitProducerIdRequest {
    static func of(_ transactionalId: String) -> InitProducerIdRequest {
        var request = InitProducerIdRequest()
        request.transactionalId = transactionalId
        request.transactionTimeoutMs = 60_000
        request.producerId = -1
        request.producerEpoch = -1
        return request
    }
}

extension EndTxnRequest {
    static func of(_ id: String, _ producerId: Int64, _ epoch: Int16, commits: Bool) -> EndTxnRequest {
        var request = EndTxnRequest()
        request.transactionalId = id
        request.producerId = producerId
        request.producerEpoch = epoch
        request.committed = commits
        return request
    }
}
