// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: Produce (key 0).
//
// Versions: 3 to 12; 0 to 12 are advertised, because librdkafka only compresses when it sees 0 (KAFKA-18659).
// Behaviour: each partition's batch is validated, appended and answered on its own; the reply goes when all are.
//   acks=0: no reply; a batch that is refused closes the connection, as in Kafka, because nothing else can tell.
//   acks=1: answered when written; acks=all: when durable. A transactional batch needs an open transaction that names
//   the partition (KIP-890): INVALID_TXN_STATE otherwise, from 11 on TRANSACTION_ABORTABLE. From 12 on the request
//   adds the partitions itself (Produce+Transactions.swift). Transactional batches without a transactional id:
//   TRANSACTIONAL_ID_AUTHORIZATION_FAILED for the whole request; of more than one producer:
//   INVALID_PRODUCER_ID_MAPPING.
// Deviations from Kafka: exactly one batch per partition, as Kafka demands from version 3 on.
// Notes: 5 adds logStartOffset, 8 error messages (KIP-467), 10 leader hints (KIP-951), 11 TRANSACTION_ABORTABLE, 12
//   transactions version 2.

import Engine
import KafkaWire
import Logging
import NIOCore
import Telemetry

enum ProduceHandler: KafkaHandler {
    static func handle(_ request: ProduceRequest, _ exchange: Exchange) {
        guard let acks = Acks(rawValue: request.acks) else {
            return exchange.reply(refusal(of: request, .invalidRequiredAcks))
        }
        let transaction: ProduceTransaction?
        do throws(ProduceRefusal) {
            transaction = try ProduceTransaction.find(in: request)
        } catch {
            guard acks != .none else { return Self.close(exchange, error.message) }
            return exchange.reply(refusal(of: request, error.code))
        }
        guard let transaction, exchange.version >= 12 else {
            return append(request, acks, transaction, nil, exchange)
        }
        transaction.addPartitions(exchange) { append(request, acks, transaction, $0, exchange) }
    }

    /// `refusal`: why the partitions of the transaction could not be added to it.
    private static func append(
        _ request: ProduceRequest, _ acks: Acks, _ transaction: ProduceTransaction?, _ refusal: ProduceRefusal?,
        _ exchange: Exchange
    ) {
        let verification = transaction.map {
            TransactionVerification(
                $0.id, by: exchange.engine.transactions, version: exchange.version >= 12 ? .two : .one)
        }
        let gathering = Gathering(request, acks: acks, exchange)
        var decompression = Decompression(exchange.connection.turn)
        for (topicAt, topic) in request.topics.enumerated() {
            let target = exchange.engine.topics.topic(named: topic.name)
            for (partitionAt, partition) in topic.partitions.enumerated() {
                if let refusal, target?.partition(partition.index) != nil,
                    transaction?.partitions.contains(.init(topic: topic.name, partition: partition.index)) == true
                {
                    gathering.finish(topicAt, partitionAt, refusal)
                    continue
                }
                let bytesMax = decompression.bytesMax(with: partition.records)
                append(partition, to: target, acks, bytesMax, verification, exchange) { result in
                    gathering.finish(topicAt, partitionAt, result)
                }
            }
        }
        gathering.allStarted()
    }

    private static func append(
        _ partition: ProduceRequest.Partition, to topic: Topic?, _ acks: Acks,
        _ decompressedBytesMax: Int, _ verification: TransactionVerification?, _ exchange: Exchange,
        completion: @escaping AppendCompletion
    ) {
        guard let topic, let target = topic.partition(partition.index) else {
            return completion(.failure(EngineError(.unknownPartition, "no such topic or partition")))
        }
        guard !topic.isInternal else {
            return completion(
                .failure(EngineError(.invalidTopicName, "topic \(topic.name) belongs to the broker")))
        }
        guard let records = partition.records else {
            return completion(.failure(EngineError(.invalidRecord, "the partition has no record batch")))
        }
        target.append(
            records, acks: acks, allowsZstd: exchange.version >= 7,
            decompressedBytesMax: decompressedBytesMax, turn: exchange.connection.turn,
            verify: verification, completion: completion)
    }

    /// What the batches of one request may take to be looked into, all together: each could be a bomb of its own.
    private struct Decompression {
        private let turn: Turn
        private let start: Int
        private var received = 0

        init(_ turn: Turn) {
            self.turn = turn
            start = turn.decompressedBytes
        }

        /// For the next batch.
        mutating func bytesMax(with records: ByteBuffer?) -> Int {
            received += records?.readableBytes ?? 0
            let allowed = Limits.decompressedBytes + Limits.decompressedRatio * received
            return max(0, allowed - (turn.decompressedBytes - start))
        }
    }

    /// Nothing else can tell a client that asks for no reply.
    fileprivate static func close(_ exchange: Exchange, _ cause: String) {
        exchange.close("a record batch sent with acks=0 was refused: \(cause)")
    }

    private static func refusal(of request: ProduceRequest, _ code: KafkaErrorCode) -> ProduceResponse {
        var response = ProduceResponse()
        response.topics = request.topics.map { topic in
            ProduceResponse.Topic(
                name: topic.name,
                partitions: topic.partitions.map {
                    ProduceResponse.Partition(index: $0.index, errorCode: code)
                })
        }
        return response
    }

    /// Collects the partitions' results; confined to the connection's event loop.
    private final class Gathering: @unchecked Sendable {
        // Unchecked: append completions run on the turn's loop, which is the connection's.
        private var response = ProduceResponse()
        private var missing = 1
        private let acks: Acks
        private let exchange: Exchange
        /// For the log.
        private let topics: [ProduceRequest.Topic]
        private var refusal: ProduceRefusal?

        init(_ request: ProduceRequest, acks: Acks, _ exchange: Exchange) {
            self.acks = acks
            self.exchange = exchange
            topics = exchange.server.logger.logLevel <= .debug ? request.topics : []
            response.topics.reserveCapacity(request.topics.count)
            for topic in request.topics {
                response.topics.append(
                    ProduceResponse.Topic(
                        name: topic.name,
                        partitions: topic.partitions.map {
                            ProduceResponse.Partition(index: $0.index, errorCode: .none)
                        }))
                missing += topic.partitions.count
            }
        }

        func finish(_ topic: Int, _ partition: Int, _ result: Result<AppendResult, EngineError>) {
            switch result {
            case .success(let appended):
                response.topics[topic].partitions[partition].note(appended)
                allStarted()
            case .failure(let error):
                finish(topic, partition, ProduceRefusal(error, version: exchange.version))
            }
        }

        func finish(_ topic: Int, _ partition: Int, _ refusal: ProduceRefusal) {
            response.topics[topic].partitions[partition].errorCode = refusal.code
            response.topics[topic].partitions[partition].errorMessage = refusal.message
            response.topics[topic].partitions[partition].recordErrors = refusal.records
            response.topics[topic].partitions[partition].baseOffset = -1
            self.refusal = refusal
            if topics.isEmpty { return allStarted() }
            exchange.server.logger.debug(
                "a record batch was refused: \(refusal.message)",
                metadata: (ProducedTrace.find(in: topics)?.metadata ?? [:]).merging([
                    "topic": "\(topics[topic].name)", "partition": "\(topics[topic].partitions[partition].index)",
                    "error": "\(refusal.code)",
                ]) { $1 })
            allStarted()
        }

        func allStarted() {
            missing -= 1
            if missing == 0 { answer() }
        }

        private func answer() {
            guard acks == .none else { return exchange.reply(response) }
            if let refusal {
                ProduceHandler.close(exchange, refusal.message)
            } else {
                exchange.replyNothing()
            }
        }
    }
}

extension ProduceResponse.Partition {
    fileprivate mutating func note(_ appended: AppendResult) {
        baseOffset = appended.baseOffset
        logAppendTimeMs = appended.logAppendTimeMs
        logStartOffset = appended.logStartOffset
    }
}
