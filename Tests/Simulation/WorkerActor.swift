// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: a worker of a share group (KIP-932): publishes jobs, takes some, and accepts, gives back, rejects or
// forgets them.
//
// One request is under way at a time. What it holds it says within the same share session; a session that goes wrong is begun
// anew, and the model expects nothing of what was held in it.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Records

final class WorkerActor: KafkaActor {
    unowned let life: Life
    let number: Int
    var link: KafkaLink?
    private var isWaiting = false
    private var isFetching = false
    private var memberId = ""
    /// 0: no member.
    private var memberEpoch: Int32 = 0
    private var sessionEpoch: Int32 = 0
    private var topicId = TopicId.zero
    private var partitions: [Int32] = []
    private var held: [(job: Job, offset: Int64)] = []

    private typealias Batch = ShareFetchRequest.AcknowledgementBatch

    /// What is said of records that were held.
    private struct Saying {
        var partition: Int32
        var batches: [Batch] = []
        /// Those that come no more if the broker agrees.
        var finished: [Job] = []
    }

    init(_ life: Life, _ number: Int) {
        self.life = life
        self.number = number
    }

    private var crew: Crew { life.crew }
    private var nowMs: Int64 { life.broker?.nowMs ?? 0 }

    func connect(_ broker: SimulatedBroker) throws {
        link = try KafkaLink(broker) { [unowned self] in life.received($0) }
        isWaiting = false
        memberEpoch = 0
        forgetSession()
    }

    /// The process is gone, and an answer with it.
    func drop() {
        link?.discard()
        link = nil
        if isFetching { crew.noteLostDelivery() }
        isFetching = false
        forgetSession()
    }

    private func forgetSession() {
        sessionEpoch = 0
        held = []
        crew.letGo(number)
    }

    func step() throws {
        guard let link = try usableLink() else { return }
        if isWaiting {
            // The answer is lost.
            if life.chance(0.03) { hangUp(link) }
            return
        }
        guard crew.isReady else { return try prepare(link) }
        if life.chance(0.3) { return try publish(link) }
        guard memberEpoch > 0 else { return try beat(link, epoch: 0) }
        switch life.pick(0...19) {
        case 0: hangUp(link)
        case 1: try beat(link, epoch: -1)
        case 2...4: try beat(link, epoch: memberEpoch)
        case 5 where sessionEpoch > 0: try endSession(link)
        case 6...12 where !held.isEmpty: try acknowledge(link)
        default: try fetch(link)
        }
    }

    private func hangUp(_ link: KafkaLink) {
        life.trace.note("worker \(number) hangs up")
        link.close()
        forgetSession()
    }

    /// nil is answered for what comes after the connection's end, too: the jobs in it are somebody else's already.
    private func send<Request: KafkaRequest>(
        _ request: Request, _ version: Int16, _ link: KafkaLink, answer: @escaping (Request.Response?) -> Void
    ) throws {
        isWaiting = true
        try link.send(request, version: version) { [unowned self] response in
            isWaiting = false
            answer(link.isOpen ? response : nil)
        }
    }

    // MARK: Jobs

    private func prepare(_ link: KafkaLink) throws {
        guard crew.isThere else {
            return try send(CreateTopicsRequest.kept(Crew.topic, partitions: Crew.partitions), 5, link) { [unowned self] response in
                let code = response?.topics.first?.errorCode
                let isKnown = life.broker?.engine.topics.topic(named: Crew.topic) != nil
                if code == KafkaErrorCode.none || code == .topicAlreadyExists && isKnown { crew.isThere = true }
            }
        }
        var config = IncrementalAlterConfigsRequest.Config()
        config.name = "share.auto.offset.reset"
        config.value = "earliest"
        var resource = IncrementalAlterConfigsRequest.Resource()
        resource.resourceType = 32
        resource.resourceName = Crew.group
        resource.configs = [config]
        var request = IncrementalAlterConfigsRequest()
        request.resources = [resource]
        try send(request, 1, link) { [unowned self] response in
            if response?.resources.first?.errorCode == KafkaErrorCode.none { crew.isReady = true }
        }
    }

    private func publish(_ link: KafkaLink) throws {
        let job = crew.add(Int32(life.pick(0...Int(Crew.partitions) - 1)))
        var builder = RecordBatchBuilder()
        builder.append(key: nil, value: ByteBuffer(string: job.value), timestamp: life.clock.nowMs())
        var partition = ProduceRequest.Partition()
        partition.index = job.partition
        partition.records = builder.finish()
        var topic = ProduceRequest.Topic()
        topic.name = Crew.topic
        topic.partitions = [partition]
        var request = ProduceRequest()
        request.acks = -1
        request.timeoutMs = 1_000
        request.topics = [topic]
        try send(request, 9, link) { [unowned self] response in
            guard response?.topics.first?.partitions.first?.errorCode == KafkaErrorCode.none else { return }
            job.isPublished = true
            life.report.acknowledged += 1
            life.trace.note("\(job.value) is published")
        }
    }

    // MARK: Membership

    /// Epoch 0 joins, -1 leaves.
    private func beat(_ link: KafkaLink, epoch: Int32) throws {
        if epoch == 0 { memberId = life.makeId().description }
        var request = ShareGroupHeartbeatRequest()
        request.groupId = Crew.group
        request.memberId = memberId
        request.memberEpoch = epoch
        if epoch == 0 { request.subscribedTopicNames = [Crew.topic] }
        if epoch < 0 {
            life.trace.note("worker \(number) leaves")
            forgetSession()
        }
        try send(request, 1, link) { [unowned self] response in
            guard let response, response.errorCode == .none, response.memberEpoch > 0 else {
                memberEpoch = 0
                return forgetSession()
            }
            memberEpoch = response.memberEpoch
            guard let mine = response.assignment?.topicPartitions.first else { return }
            topicId = mine.topicId
            partitions = mine.partitions.sorted()
            // Not what it was that the session is about.
            forgetSession()
        }
    }

    // MARK: Taking and saying

    private func fetch(_ link: KafkaLink) throws {
        guard !partitions.isEmpty else { return try beat(link, epoch: memberEpoch) }
        // In the first request of a session nothing can be said.
        let said = sessionEpoch > 0 && life.chance(0.3) ? takeSayings() : []
        var request = ShareFetchRequest()
        request.groupId = Crew.group
        request.memberId = memberId
        request.shareSessionEpoch = sessionEpoch
        request.maxWaitMs = Int32(life.pick([0, 0, 500]))
        request.maxRecords = Int32(life.pick([1, 3, 100]))
        request.batchSize = request.maxRecords
        let named = sessionEpoch == 0 ? partitions : said.map(\.partition)
        if !named.isEmpty {
            var topic = ShareFetchRequest.Topic()
            topic.topicId = topicId
            topic.partitions = named.map { index in
                var partition = ShareFetchRequest.Partition()
                partition.partitionIndex = index
                partition.acknowledgementBatches = said.first { $0.partition == index }?.batches ?? []
                return partition
            }
            request.topics = [topic]
        }
        let sentMs = nowMs
        isFetching = true
        try send(request, 1, link) { [unowned self] response in
            isFetching = false
            guard let response, response.errorCode == .none else {
                if response == nil { crew.noteLostDelivery() }
                return forgetSession()
            }
            sessionEpoch += 1
            for partition in response.responses.flatMap(\.partitions) {
                settle(said, partition.partitionIndex, partition.acknowledgeErrorCode)
                receive(partition, sentMs: sentMs)
            }
        }
    }

    private func receive(_ partition: ShareFetchResponse.Partition, sentMs: Int64) {
        for (offset, value, count) in life.jobs(of: partition) {
            guard let job = life.delivered(value, count, in: partition.partitionIndex) else { return }
            held.append((job, offset))
            // An answer can be older than the lock that it tells of: somebody else may have the job by now.
            guard nowMs < sentMs + Crew.lockMs else { continue }
            if let holder = job.holder, holder != number, nowMs < job.heldUntilMs {
                return life.violate("a job is held by one worker at a time", "\(value) by \(holder) and by \(number)")
            }
            job.holder = number
            job.heldUntilMs = sentMs + Crew.lockMs
        }
    }

    private func acknowledge(_ link: KafkaLink) throws {
        let said = takeSayings()
        var topic = ShareAcknowledgeRequest.Topic()
        topic.topicId = topicId
        topic.partitions = said.map { saying in
            var partition = ShareAcknowledgeRequest.Partition()
            partition.partitionIndex = saying.partition
            partition.acknowledgementBatches = saying.batches.map {
                var batch = ShareAcknowledgeRequest.AcknowledgementBatch()
                (batch.firstOffset, batch.lastOffset, batch.acknowledgeTypes) = ($0.firstOffset, $0.lastOffset, $0.acknowledgeTypes)
                return batch
            }
            return partition
        }
        var request = ShareAcknowledgeRequest()
        request.groupId = Crew.group
        request.memberId = memberId
        request.shareSessionEpoch = sessionEpoch
        request.topics = [topic]
        try send(request, 1, link) { [unowned self] response in
            guard let response, response.errorCode == .none else { return forgetSession() }
            sessionEpoch += 1
            for partition in response.responses.flatMap(\.partitions) {
                settle(said, partition.partitionIndex, partition.errorCode)
            }
        }
    }

    private func endSession(_ link: KafkaLink) throws {
        var request = ShareAcknowledgeRequest()
        request.groupId = Crew.group
        request.memberId = memberId
        request.shareSessionEpoch = -1
        life.trace.note("worker \(number) ends its session")
        forgetSession()
        try send(request, 1, link) { _ in }
    }

    /// Says something of some of what it holds, in the order of offsets.
    private func takeSayings() -> [Saying] {
        let count = life.pick(1...max(1, held.count))
        let taken = held.prefix(count)
        held.removeFirst(min(count, held.count))
        var sayings: [Saying] = []
        for (job, offset) in taken.sorted(by: { ($0.job.partition, $0.offset) < ($1.job.partition, $1.offset) }) {
            if sayings.last?.partition != job.partition { sayings.append(Saying(partition: job.partition)) }
            // Accept, release, reject.
            let type = Int8(life.pick([1, 1, 1, 2, 3]))
            var batch = Batch()
            (batch.firstOffset, batch.lastOffset, batch.acknowledgeTypes) = (offset, offset, [type])
            sayings[sayings.count - 1].batches.append(batch)
            if job.holder == number { job.holder = nil }
            guard type != 2 else { continue }
            job.openEnds += 1
            sayings[sayings.count - 1].finished.append(job)
        }
        return sayings
    }

    private func settle(_ said: [Saying], _ partition: Int32, _ code: KafkaErrorCode) {
        guard let saying = said.first(where: { $0.partition == partition }) else { return }
        switch code {
        case .none:
            for job in saying.finished {
                job.isOver = true
                life.report.acknowledged += 1
                life.trace.note("\(job.value) is over")
            }
        // Refused as a whole: a lock had ended.
        case .invalidRecordState:
            for job in saying.finished { job.openEnds -= 1 }
        default: break
        }
    }
}
