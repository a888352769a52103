// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: transactions over the protocol, at every version, with what is right and what is wrong.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Records
import Storage
import TestSupport
import Testing

@testable import KafkaServer

extension ApiVersionsRequest {
    /// As clients send it since version 3.
    static var named: ApiVersionsRequest {
        var request = ApiVersionsRequest()
        request.clientSoftwareName = "test"
        request.clientSoftwareVersion = "1.0"
        return request
    }
}

/// A transactional producer, request by request.
struct TransactionalClient {
    let connection: TestConnection
    var id: String?
    var producerId: Int64 = -1
    var epoch: Int16 = -1

    mutating func initialise(_ id: String, version: Int16 = 5) throws -> KafkaErrorCode {
        self.id = id
        var request = InitProducerIdRequest()
        request.transactionalId = id
        request.transactionTimeoutMs = 60_000
        request.producerId = -1
        request.producerEpoch = -1
        let answer = try connection.call(request, version: version)
        if answer.errorCode == .none { (producerId, epoch) = (answer.producerId, answer.producerEpoch) }
        return answer.errorCode
    }

    func add(_ topic: String, _ partitions: Int32..., version: Int16 = 3) throws -> [KafkaErrorCode] {
        var topics = AddPartitionsToTxnRequest.Topic()
        topics.name = topic
        topics.partitions = partitions
        var request = AddPartitionsToTxnRequest()
        request.v3AndBelowTransactionalId = id ?? ""
        request.v3AndBelowProducerId = producerId
        request.v3AndBelowProducerEpoch = epoch
        request.v3AndBelowTopics = [topics]
        return try connection.call(request, version: version).resultsByTopicV3AndBelow
            .flatMap(\.resultsByPartition).map(\.partitionErrorCode)
    }

    func batch(_ value: String, sequence: Int32, isTransactional: Bool = true) -> ByteBuffer {
        var builder = RecordBatchBuilder(producer: .init(id: producerId, epoch: epoch, baseSequence: sequence))
        builder.isTransactional = isTransactional
        builder.append(key: nil, value: ByteBuffer(string: value), timestamp: 1_700_000_000_000)
        return builder.finish()
    }

    func produceRequest(_ topic: String, _ batches: [Int32: ByteBuffer]) -> ProduceRequest {
        var request = ProduceRequest()
        request.transactionalId = id
        request.acks = -1
        request.timeoutMs = 1_000
        var topics = ProduceRequest.Topic()
        topics.name = topic
        topics.partitions = batches.sorted { $0.key < $1.key }.map { index, records in
            var partition = ProduceRequest.Partition()
            partition.index = index
            partition.records = records
            return partition
        }
        request.topics = [topics]
        return request
    }

    func produce(
        _ topic: String, _ value: String, sequence: Int32, partition: Int32 = 0, version: Int16 = 12
    ) throws -> KafkaErrorCode {
        let request = produceRequest(topic, [partition: batch(value, sequence: sequence)])
        return try connection.call(request, version: version).topics[0].partitions[0].errorCode
    }

    /// Ends the transaction, and takes what it is told for the next.
    mutating func end(_ committed: Bool, version: Int16 = 5) throws -> KafkaErrorCode {
        var request = EndTxnRequest()
        request.transactionalId = id ?? ""
        request.producerId = producerId
        request.producerEpoch = epoch
        request.committed = committed
        let answer = try connection.call(request, version: version)
        if version >= 5, answer.errorCode == .none {
            (producerId, epoch) = (answer.producerId, answer.producerEpoch)
        } else {
            #expect(answer.producerId == -1)
        }
        return answer.errorCode
    }

    func offsets(_ topic: String, _ offset: Int64, group: String = "g", version: Int16 = 5) throws -> KafkaErrorCode {
        var partition = TxnOffsetCommitRequest.Partition()
        partition.committedOffset = offset
        var topics = TxnOffsetCommitRequest.Topic()
        topics.name = topic
        topics.partitions = [partition]
        var request = TxnOffsetCommitRequest()
        request.transactionalId = id ?? ""
        request.groupId = group
        request.producerId = producerId
        request.producerEpoch = epoch
        request.generationId = -1
        request.topics = [topics]
        return try connection.call(request, version: version).topics[0].partitions[0].errorCode
    }
}

@Suite struct TransactionHandlersTests {
    let test: TestEngine
    let connection: TestConnection

    init() throws {
        test = try TestEngine(durability: .disk)
        _ = try test.makeTopic("orders", partitions: 3)
        connection = try TestConnection(test)
    }

    private func client(_ id: String) throws -> TransactionalClient {
        var client = TransactionalClient(connection: connection)
        #expect(try client.initialise(id) == .none)
        return client
    }

    private func describe(_ id: String) throws -> DescribeTransactionsResponse.TransactionState {
        var request = DescribeTransactionsRequest()
        request.transactionalIds = [id]
        return try connection.call(request, version: 0).transactionStates[0]
    }

    // MARK: Versions

    @Test(arguments: 3...12 as ClosedRange<Int16>)
    func aTransactionInEachVersionOfProduce(version: Int16) throws {
        var client = try client("p\(version)")
        #expect(try client.initialise("p\(version)") == .none)
        let early = try client.produce("orders", "early", sequence: 0, version: version)
        switch version {
        case 12: #expect(early == .none)
        case 11: #expect(early == .transactionAbortable)
        default: #expect(early == .invalidTxnState)
        }
        if version < 12 {
            #expect(try client.add("orders", 0) == [.none])
            #expect(try client.produce("orders", "a", sequence: 0, version: version) == .none)
        }
        #expect(try client.end(true, version: version < 12 ? 3 : 5) == .none)
        #expect(try describe("p\(version)").transactionState == "CompleteCommit")
        var late = client
        late.epoch -= 1
        #expect(try late.produce("orders", "late", sequence: 1, version: version) == .invalidProducerEpoch)
    }

    @Test(arguments: 0...5 as ClosedRange<Int16>)
    func aTransactionEndsInEachVersion(version: Int16) throws {
        var client = try client("e\(version)")
        #expect(try client.end(true, version: version) == .invalidTxnState)
        #expect(try client.add("orders", 1) == [.none])
        let open = client
        #expect(try client.end(true, version: version) == .none)
        #expect(client.epoch == (version >= 5 ? open.epoch + 1 : open.epoch))
        // The same again, then the opposite, from one who did not hear the answer.
        var again = open
        #expect(try again.end(true, version: version) == .none)
        #expect(again.epoch == client.epoch)
        var otherwise = open
        #expect(try otherwise.end(false, version: version) == .invalidTxnState)
        var fenced = open
        fenced.epoch -= 1
        #expect(try fenced.end(true, version: version) == (version < 2 ? .invalidProducerEpoch : .producerFenced))
        fenced.epoch = .max
        #expect(try fenced.end(true, version: version) == (version < 2 ? .invalidProducerEpoch : .producerFenced))
        var stranger = open
        stranger.producerId += 77
        #expect(try stranger.end(true, version: version) == .invalidProducerIdMapping)
        stranger.producerId = -1
        #expect(try stranger.end(true, version: version) == .invalidProducerIdMapping)
        stranger.id = "nobody"
        #expect(try stranger.end(true, version: version) == .invalidProducerIdMapping)
        stranger.id = ""
        #expect(try stranger.end(true, version: version) == .invalidRequest)
    }

    @Test(arguments: 0...3 as ClosedRange<Int16>)
    func partitionsAreAddedInEachVersionOfClients(version: Int16) throws {
        let client = try client("a\(version)")
        #expect(try client.add("orders", 0, 1, version: version) == [.none, .none])
        #expect(try client.add("orders", 0, 9, -1, version: version) == [
            .operationNotAttempted, .unknownTopicOrPartition, .unknownTopicOrPartition,
        ])
        #expect(try client.add("nowhere", 0, version: version) == [.unknownTopicOrPartition])
        #expect(try client.add("__consumer_offsets", 0, version: version) == [.topicAuthorizationFailed])
        #expect(try client.add("orders", version: version) == [])
        var other = client
        other.epoch += 1
        #expect(try other.add("orders", 2, version: version) == [version < 2 ? .invalidProducerEpoch : .producerFenced])
        other.producerId += 5
        #expect(try other.add("orders", 2, version: version) == [.invalidProducerIdMapping])
        other.id = ""
        #expect(try other.add("orders", 2, version: version) == [.invalidRequest])
        // Nothing of what was refused was added.
        #expect(try describe("a\(version)").topics.flatMap(\.partitions) == [0, 1])
    }

    @Test(arguments: 4...5 as ClosedRange<Int16>)
    func manyTransactionsAreAddedOrVerifiedAtOnce(version: Int16) throws {
        let first = try client("m1-\(version)"), second = try client("m2-\(version)")
        var topic = AddPartitionsToTxnRequest.Topic()
        topic.name = "orders"
        topic.partitions = [0, 1]
        func transaction(_ client: TransactionalClient, verifyOnly: Bool) -> AddPartitionsToTxnRequest.Transaction {
            var each = AddPartitionsToTxnRequest.Transaction()
            each.transactionalId = client.id ?? ""
            each.producerId = client.producerId
            each.producerEpoch = client.epoch
            each.verifyOnly = verifyOnly
            each.topics = [topic]
            return each
        }
        func codes(_ transactions: AddPartitionsToTxnRequest.Transaction...) throws -> [[KafkaErrorCode]] {
            var request = AddPartitionsToTxnRequest()
            request.transactions = transactions
            return try connection.call(request, version: version).resultsByTransaction.map { result in
                result.topicResults.flatMap(\.resultsByPartition).map(\.partitionErrorCode)
            }
        }
        var fenced = second
        fenced.epoch += 1
        #expect(try codes() == [])
        #expect(
            try codes(transaction(first, verifyOnly: false), transaction(second, verifyOnly: true))
                == [[.none, .none], [.transactionAbortable, .transactionAbortable]])
        let verified = try codes(transaction(first, verifyOnly: true), transaction(fenced, verifyOnly: true))
        #expect(verified == [[.none, .none], [.producerFenced, .producerFenced]])
        #expect(try describe("m2-\(version)").transactionState == "Empty")
    }

    @Test(arguments: 0...5 as ClosedRange<Int16>)
    func offsetsAreCommittedInEachVersion(version: Int16) throws {
        var client = try client("o\(version)")
        let early = try client.offsets("orders", 4, version: version)
        switch version {
        case 5: #expect(early == .none)
        case 4: #expect(early == .transactionAbortable)
        default: #expect(early == .invalidTxnState)
        }
        if version < 5 {
            var request = AddOffsetsToTxnRequest()
            request.transactionalId = client.id ?? ""
            request.producerId = client.producerId
            request.producerEpoch = client.epoch
            request.groupId = "g"
            #expect(try connection.call(request, version: min(version, 4)).errorCode == .none)
            #expect(try client.offsets("orders", 4, version: version) == .none)
        }
        #expect(try client.offsets("nowhere", 4, version: version) == .unknownTopicOrPartition)
        #expect(try client.offsets("orders", 4, group: "", version: version) == .invalidGroupId)
        var fenced = client
        fenced.epoch += 1
        #expect(try fenced.offsets("orders", 5, version: version) == .invalidProducerEpoch)
        fenced.producerId += 5
        #expect(try fenced.offsets("orders", 5, version: version) == .invalidProducerIdMapping)
        #expect(try client.end(true, version: version == 5 ? 5 : 3) == .none)
        var topics = OffsetFetchRequest.Topic()
        topics.name = "orders"
        topics.partitionIndexes = [0]
        var fetch = OffsetFetchRequest()
        fetch.groupId = "g"
        fetch.topics = [topics]
        #expect(try connection.call(fetch, version: 7).topics[0].partitions[0].committedOffset == 4)
    }

    @Test(arguments: 0...5 as ClosedRange<Int16>)
    func aProducerInitialisesItselfInEachVersion(version: Int16) throws {
        func initialise(
            _ id: String?, timeoutMs: Int32 = 60_000, producer: Int64 = -1, epoch: Int16 = -1
        ) throws -> InitProducerIdResponse {
            var request = InitProducerIdRequest()
            request.transactionalId = id
            request.transactionTimeoutMs = timeoutMs
            request.producerId = producer
            request.producerEpoch = epoch
            return try connection.call(request, version: version)
        }
        let id = "i\(version)"
        let first = try initialise(id)
        #expect(first.errorCode == .none)
        #expect(first.producerEpoch == 0)
        let second = try initialise(id)
        #expect(second.producerId == first.producerId)
        #expect(second.producerEpoch == 1)
        #expect(try initialise("").errorCode == .invalidRequest)
        #expect(try initialise(String(repeating: "x", count: 2_000)).errorCode == .invalidRequest)
        for timeout: Int32 in [0, -1, .min, 900_001, .max] {
            let refused = try initialise(id, timeoutMs: timeout)
            #expect(refused.errorCode == .invalidTransactionTimeout)
            #expect(refused.producerId == -1)
        }
        // Without a transactional id the timeout is nobody's business, and each answer is a new producer.
        let plain = try initialise(nil, timeoutMs: -5)
        #expect(plain.producerEpoch == 0)
        if version >= 3 {
            let another = try initialise(nil, producer: plain.producerId, epoch: plain.producerEpoch)
            #expect(another.errorCode == .none)
            #expect(another.producerId != plain.producerId)
            #expect(another.producerEpoch == 0)
            #expect(try initialise(nil, producer: 5).errorCode == .invalidRequest)
            #expect(try initialise(id, producer: 5).errorCode == .invalidRequest)
            #expect(try initialise(id, epoch: 5).errorCode == .invalidRequest)
            let fenced: KafkaErrorCode = version >= 4 ? .producerFenced : .invalidProducerEpoch
            #expect(try initialise(id, producer: second.producerId, epoch: 0).errorCode == fenced)
            #expect(try initialise(id, producer: second.producerId + 9, epoch: 1).errorCode == fenced)
            let bumped = try initialise(id, producer: second.producerId, epoch: 1)
            #expect(bumped.producerEpoch == 2)
        }
    }

    // MARK: Produce

    @Test func aTransactionalBatchNeedsATransactionalId() throws {
        var client = try client("owner")
        client.id = nil
        for version: Int16 in [3, 8, 11, 12] {
            let plain = client.batch("plain", sequence: 0, isTransactional: false)
            let request = client.produceRequest("orders", [0: client.batch("a", sequence: 0), 1: plain])
            let answer = try connection.call(request, version: version).topics[0].partitions
            // All of it, so that nothing is half done.
            #expect(answer.map(\.errorCode) == [
                .transactionalIdAuthorizationFailed, .transactionalIdAuthorizationFailed,
            ])
        }
        client.id = ""
        #expect(try client.produce("orders", "a", sequence: 0) == .invalidRequest)
        #expect(test.engine.topics.topic(named: "orders")?.partitions[1].offsets.highWatermark == 0)
    }

    @Test func oneRequestIsOfOneProducer() throws {
        let client = try client("one")
        var other = client
        other.producerId += 1
        let request = client.produceRequest(
            "orders", [0: client.batch("a", sequence: 0), 1: other.batch("b", sequence: 0)])
        for version: Int16 in [3, 12] {
            #expect(
                try connection.call(request, version: version).topics[0].partitions.map(\.errorCode)
                    == [.invalidProducerIdMapping, .invalidProducerIdMapping])
        }
        #expect(try describe("one").transactionState == "Empty")
    }

    @Test func aRequestOfVersionTwelveAddsWhatExistsAndOnlyThat() throws {
        var client = try client("mixed")
        let request = client.produceRequest(
            "orders",
            [
                0: client.batch("a", sequence: 0), 2: client.batch("c", sequence: 0),
                7: client.batch("nowhere", sequence: 0),
            ])
        #expect(
            try connection.call(request, version: 12).topics[0].partitions.map(\.errorCode)
                == [.none, .none, .unknownTopicOrPartition])
        #expect(try describe("mixed").topics.flatMap(\.partitions) == [0, 2])
        #expect(try client.end(true) == .none)
    }

    @Test func pipelinedRequestsOfVersionTwelveAreServedInOrder() throws {
        let client = try client("pipeline")
        for number in 0..<20 {
            let batch = client.batch("\(number)", sequence: Int32(number / 2))
            try connection.send(client.produceRequest("orders", [Int32(number % 2): batch]), version: 12)
        }
        for _ in 0..<30 { test.sync() }
        for number in 0..<20 {
            let answer = try #require(try connection.response(ProduceResponse.self, version: 12)).response
            #expect(answer.topics[0].partitions[0].errorCode == .none, "\(number)")
            #expect(answer.topics[0].partitions[0].baseOffset == Int64(number / 2))
        }
    }

    @Test func aRefusalWithoutAcknowledgementClosesTheConnection() throws {
        var client = try client("silent")
        client.id = nil
        var request = client.produceRequest("orders", [0: client.batch("a", sequence: 0)])
        request.acks = 0
        try connection.send(request, version: 12)
        test.sync()
        #expect(!connection.isOpen)
    }

    // MARK: Features

    @Test func aLowerTransactionVersionIsShownAtOnce() throws {
        func level() throws -> Int16? {
            try connection.call(ApiVersionsRequest.named, version: 4).finalizedFeatures
                .first { $0.name == "transaction.version" }?.maxVersionLevel
        }
        var update = UpdateFeaturesRequest.FeatureUpdate()
        update.feature = "transaction.version"
        var request = UpdateFeaturesRequest()
        #expect(try level() == 2)
        for (version, target) in [(0, 1), (1, 0), (2, 0)] as [(Int16, Int16)] {
            update.maxVersionLevel = target
            update.allowDowngrade = false
            update.upgradeType = 1
            request.featureUpdates = [update]
            let before = try level() ?? 0
            if target < before {
                #expect(try connection.call(request, version: version).errorCode == .invalidUpdateVersion)
            }
            update.allowDowngrade = true
            update.upgradeType = 2
            request.featureUpdates = [update]
            if version >= 1 {
                request.validateOnly = true
                #expect(try connection.call(request, version: version).errorCode == .none)
                #expect(try level() ?? 0 == before)
                request.validateOnly = false
            }
            let answer = try connection.call(request, version: version)
            #expect(answer.errorCode == .none)
            #expect(answer.results.map(\.errorCode) == (version <= 1 ? [.none] : []))
            #expect(try level() ?? 0 == target)
        }
        #expect(try level() == nil)
        // Transactions of both kinds of clients go on.
        var client = try client("low")
        #expect(try client.produce("orders", "a", sequence: 0) == .none)
        #expect(try client.end(true) == .none)
    }

    @Test(arguments: 0...2 as ClosedRange<Int16>)
    func updatesOfFeaturesThatCannotBeAreRefused(version: Int16) throws {
        for (name, level, kind) in [
            ("transaction.version", 3, 1), ("transaction.version", -1, 2), ("", 1, 1), ("nothing", 0, 1),
            ("metadata.version", 1, 3), ("transaction.version", .max, 1), ("group.version", 2, 1),
        ] as [(String, Int16, Int8)] {
            var update = UpdateFeaturesRequest.FeatureUpdate()
            update.feature = name
            update.maxVersionLevel = level
            update.upgradeType = kind
            update.allowDowngrade = kind > 1
            var request = UpdateFeaturesRequest()
            request.featureUpdates = [update]
            let answer = try connection.call(request, version: version)
            #expect(answer.errorCode == .invalidUpdateVersion, "\(name) \(level)")
            #expect(answer.errorMessage?.isEmpty == false)
            #expect(answer.results == [])
        }
        #expect(try connection.call(UpdateFeaturesRequest(), version: version).errorCode == .none)
        var many = UpdateFeaturesRequest()
        many.featureUpdates = Array(repeating: UpdateFeaturesRequest.FeatureUpdate(), count: 1_001)
        #expect(try connection.call(many, version: version).errorCode == .invalidRequest)
    }

    // MARK: Administration

    @Test func transactionsAreListedByStateProducerAndDuration() throws {
        let open = try client("open"), idle = try client("idle")
        #expect(try open.add("orders", 0) == [.none])
        test.clock.advance(ms: 1_000)
        func list(
            _ states: [String] = [], _ producers: [Int64] = [], duration: Int64 = -1, version: Int16 = 1
        ) throws -> (ids: [String], unknown: [String]) {
            var request = ListTransactionsRequest()
            request.stateFilters = states
            request.producerIdFilters = producers
            request.durationFilter = duration
            let answer = try connection.call(request, version: version)
            return (answer.transactionStates.map(\.transactionalId), answer.unknownStateFilters)
        }
        for version: Int16 in 0...1 {
            #expect(try list(version: version).ids == ["idle", "open"])
            #expect(try list(["Ongoing"], version: version).ids == ["open"])
            let odd = try list(["Ongoing", "ongoing", "Whatever"], version: version)
            #expect(odd.ids == ["open"])
            #expect(odd.unknown == ["ongoing", "Whatever"])
            #expect(try list(["Whatever"], version: version).ids == [])
            #expect(try list(["Dead", "PrepareEpochFence"], version: version).unknown == [])
            #expect(try list([], [idle.producerId, -1, 99], version: version).ids == ["idle"])
        }
        #expect(try list(["Ongoing"], duration: 999).ids == ["open"])
        #expect(try list(["Ongoing"], duration: 1_000).ids == [])
        #expect(try list(duration: .max).ids == [])
        #expect(try list(duration: .min).ids == ["idle", "open"])
    }

    @Test func whatIsNotThereIsNotDescribed() throws {
        var request = DescribeTransactionsRequest()
        request.transactionalIds = ["nobody", ""]
        #expect(
            try connection.call(request, version: 0).transactionStates.map(\.errorCode)
                == [.transactionalIdNotFound, .invalidRequest])
        request.transactionalIds = []
        #expect(try connection.call(request, version: 0).transactionStates == [])
        var topic = DescribeProducersRequest.Topic()
        topic.name = "orders"
        topic.partitionIndexes = [0, 9, -1]
        var nowhere = DescribeProducersRequest.Topic()
        nowhere.name = "nowhere"
        nowhere.partitionIndexes = [0]
        var illegal = DescribeProducersRequest.Topic()
        illegal.name = "no/such"
        illegal.partitionIndexes = [0]
        var producers = DescribeProducersRequest()
        producers.topics = [topic, nowhere, illegal]
        #expect(
            try connection.call(producers, version: 0).topics.map { $0.partitions.map(\.errorCode) } == [
                [.none, .unknownTopicOrPartition, .unknownTopicOrPartition], [.unknownTopicOrPartition],
                [.invalidTopicException],
            ])
    }

    @Test func producersAreDescribedAsKafkaDoes() throws {
        var client = try client("shown")
        #expect(try client.produce("orders", "a", sequence: 0) == .none)
        #expect(try client.produce("orders", "b", sequence: 1) == .none)
        func shown() throws -> DescribeProducersResponse.ProducerState {
            var topic = DescribeProducersRequest.Topic()
            topic.name = "orders"
            topic.partitionIndexes = [0]
            var request = DescribeProducersRequest()
            request.topics = [topic]
            return try #require(try connection.call(request, version: 0).topics[0].partitions[0].activeProducers.first)
        }
        let open = try shown()
        #expect(open.producerId == client.producerId)
        #expect(open.producerEpoch == 0)
        #expect(open.lastSequence == 1)
        #expect(open.currentTxnStartOffset == 0)
        #expect(open.coordinatorEpoch == -1)
        #expect(try client.end(true) == .none)
        let closed = try shown()
        #expect(closed.producerEpoch == 1)
        #expect(closed.lastSequence == -1)
        #expect(closed.currentTxnStartOffset == -1)
        #expect(closed.coordinatorEpoch == 0)
    }

    @Test func markersEndWhatHangsAndNothingElse() throws {
        let client = try client("hangs")
        #expect(try client.produce("orders", "a", sequence: 0) == .none)
        func write(_ epoch: Int16, coordinator: Int32, _ topic: String = "orders", _ partitions: Int32...) throws
            -> [KafkaErrorCode]
        {
            var topics = WriteTxnMarkersRequest.Topic()
            topics.name = topic
            topics.partitionIndexes = partitions
            var marker = WriteTxnMarkersRequest.Marker()
            marker.producerId = client.producerId
            marker.producerEpoch = epoch
            marker.transactionResult = false
            marker.coordinatorEpoch = coordinator
            marker.topics = [topics]
            var request = WriteTxnMarkersRequest()
            request.markers = [marker]
            return try connection.call(request, version: 1).markers[0].topics.flatMap(\.partitions).map(\.errorCode)
        }
        #expect(try write(client.epoch - 1, coordinator: 0, "orders", 0) == [.invalidProducerEpoch])
        #expect(try write(client.epoch, coordinator: 3, "orders", 0, 9) == [.none, .unknownTopicOrPartition])
        #expect(try write(client.epoch, coordinator: 2, "orders", 0) == [.transactionCoordinatorFenced])
        #expect(try write(client.epoch, coordinator: 0, "nowhere", 0) == [.unknownTopicOrPartition])
        #expect(try write(client.epoch, coordinator: 0, "orders") == [])
        #expect(try connection.call(WriteTxnMarkersRequest(), version: 1).markers == [])
    }
}
