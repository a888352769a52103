// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: writes records to a topic in batches, several on their way at once.
//
// Owned by one thread that may wait. A record goes to the partition its key hashes to; records
// without a key share a partition until the next flush. At most `batchesInFlight` batches wait for
// answers: then the oldest is waited for, so memory is bounded by the batch size times that.

import KafkaWire
import NIOCore
import Records

/// What a producer may choose.
package struct WriterOptions: Equatable, Sendable {
    /// -1: all; 0: no answer.
    package var acks: Int16 = -1
    package var compression = CompressionType.none
    /// Every record goes here; nil: by key.
    package var partition: Int32?
    package var batchBytes = 256 * 1024
    package var batchesInFlight = 5

    package init() {}
}

/// Where a batch went.
package struct WrittenBatch: Equatable, Sendable {
    package var partition: Int32
    /// -1 with acks 0.
    package var baseOffset: Int64
    package var recordCount: Int32
}

/// Collects records and produces them.
package final class TopicWriter {
    private let client: KafkaClient
    private let topic: String
    private let options: WriterOptions
    private let leaders: [PartitionLeader]
    private let compressor = Compressor()
    private var builders: [RecordBatchBuilder]
    private var inFlight = CircularBuffer<EventLoopFuture<WrittenBatch>>()
    /// The place in `leaders` of records without a key.
    private var keyless = 0
    package private(set) var written: Int64 = 0

    /// Finds the topic, which may come to be by that.
    package init(
        client: KafkaClient, topic: String, options: WriterOptions = WriterOptions()
    ) throws(ClientError) {
        self.client = client
        self.topic = topic
        self.options = options
        var leaders = try client.leaders(of: topic, creates: true)
        if let partition = options.partition {
            leaders = leaders.filter { $0.partition == partition }
            guard !leaders.isEmpty else {
                throw ClientError(
                    .invalidArgument, "topic '\(topic)' has no partition \(partition)")
            }
        }
        self.leaders = leaders
        builders = leaders.map { _ in
            RecordBatchBuilder(compression: options.compression, capacity: 16 * 1024)
        }
    }

    /// Takes a record; sends its batch if that is full.
    package func write(
        key: ByteBuffer?, value: ByteBuffer?, headers: [RecordHeader] = [], timestamp: Int64
    ) throws(ClientError) {
        var place = keyless
        if let key {
            place = Int(KeyPartitioner.partition(ofKey: key, count: leaders.count))
        }
        builders[place].append(key: key, value: value, headers: headers, timestamp: timestamp)
        if builders[place].sizeInBytes >= options.batchBytes { try send(place) }
    }

    /// Sends what was taken, without waiting for the answers.
    package func flush() throws(ClientError) {
        for place in builders.indices where builders[place].recordCount > 0 { try send(place) }
        keyless = (keyless + 1) % leaders.count
    }

    /// Sends what was taken, and waits for every answer.
    package func finish() throws(ClientError) {
        try flush()
        while !inFlight.isEmpty { try settleOldest() }
    }

    private func send(_ place: Int) throws(ClientError) {
        while inFlight.count >= options.batchesInFlight { try settleOldest() }
        let count = builders[place].recordCount
        let batch = builders[place].finish(compressor: compressor)
        var partition = ProduceRequest.Partition()
        partition.index = leaders[place].partition
        partition.records = batch
        var wanted = ProduceRequest.Topic()
        wanted.name = topic
        wanted.partitions = [partition]
        var request = ProduceRequest()
        request.acks = options.acks
        request.timeoutMs = Int32(clamping: client.options.requestTimeoutMs)
        request.topics = [wanted]
        let batchInfo = WrittenBatch(
            partition: partition.index, baseOffset: -1, recordCount: count)
        let connection = try client.connection(to: leaders[place].leader)
        let answer =
            options.acks == 0
            ? connection.sendUnanswered(request).map { batchInfo }
            : connection.send(request).flatMapThrowing { [topic] in
                try Self.settle($0, batchInfo, topic: topic)
            }
        inFlight.append(answer)
    }

    private func settleOldest() throws(ClientError) {
        guard let oldest = inFlight.popFirst() else { return }
        let batch = try client.wait(oldest)
        written += Int64(batch.recordCount)
    }

    private static func settle(
        _ response: ProduceResponse, _ batch: WrittenBatch, topic: String
    ) throws(ClientError) -> WrittenBatch {
        guard let partition = response.topics.first?.partitions.first else {
            throw ClientError(.badAnswer, "the broker answered without the partition")
        }
        guard partition.errorCode == .none else {
            throw KafkaClient.refusal(partition.errorCode, topic, partition.errorMessage)
        }
        var settled = batch
        settled.baseOffset = partition.baseOffset
        return settled
    }
}
