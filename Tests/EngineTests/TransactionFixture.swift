// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: an engine with transactional producers, in one thread.

import Bytes
import NIOCore
import Records
import Storage
import TestSupport
import Testing

@testable import Engine

/// What a completion was called with, if it was.
final class Outcome<Value: Sendable>: @unchecked Sendable {
    // Unchecked: tests run in one thread.
    var result: Result<Value, TransactionError>?

    var error: TransactionError? {
        if case .failure(let error) = result { error } else { nil }
    }
}

/// A producer with a transactional id, as a client library would keep it.
struct TestProducer {
    var id: String
    var producer: TransactionalProducer
    var sequence: [String: Int32] = [:]
}

extension TestEngine {
    var transactions: TransactionCoordinator { engine.transactions }

    /// Rounds of writes and syncs until everything that was asked is answered.
    func settle() {
        for _ in 0..<8 { sync() }
    }

    func initialise(
        _ id: String, timeoutMs: Int32 = 60_000, expected: TransactionalProducer? = nil
    ) -> Outcome<TransactionalProducer> {
        let outcome = Outcome<TransactionalProducer>()
        transactions.initialise(id, timeoutMs: timeoutMs, expected: expected, on: loop) { outcome.result = $0 }
        settle()
        return outcome
    }

    func producer(_ id: String, timeoutMs: Int32 = 60_000) throws -> TestProducer {
        TestProducer(id: id, producer: try #require(try initialise(id, timeoutMs: timeoutMs).result?.get()))
    }

    func add(_ producer: TestProducer, _ partitions: Partition...) -> TransactionError? {
        let outcome = Outcome<Void>()
        transactions.addPartitions(
            producer.id, producer.producer,
            partitions.map { TopicPartition(topic: $0.topic, partition: $0.index) }, on: loop
        ) { outcome.result = $0 }
        settle()
        return outcome.result == nil ? .notCoordinator : outcome.error
    }

    func end(_ producer: TestProducer, _ marker: TransactionMarker) -> Outcome<Void> {
        let outcome = Outcome<Void>()
        transactions.end(producer.id, producer.producer, marker, on: loop) { outcome.result = $0.map { _ in } }
        settle()
        return outcome
    }

    /// Sends one transactional batch with acks=all.
    func send(_ values: [String], from producer: inout TestProducer, to partition: Partition) -> Answer<AppendResult> {
        let sequence = producer.sequence[partition.name, default: 0]
        var builder = RecordBatchBuilder(
            producer: .init(
                id: producer.producer.id, epoch: producer.producer.epoch, baseSequence: sequence))
        builder.isTransactional = true
        for value in values {
            builder.append(key: nil, value: ByteBuffer(string: value), timestamp: clock.nowMs())
        }
        let answer = Answer<AppendResult>()
        partition.append(
            builder.finish(), acks: .all, turn: engine.turns.turn(for: loop),
            verify: TransactionVerification(producer.id, by: transactions)
        ) { answer.result = $0 }
        settle()
        if case .success = answer.result {
            producer.sequence[partition.name] = sequence + Int32(values.count)
        }
        return answer
    }

    func commitOffsets(
        _ offsets: [Int32: Int64], group: String, topic: String, _ producer: TestProducer
    ) -> OffsetRefusal? {
        let added = Outcome<Void>()
        transactions.addOffsets(producer.id, producer.producer, on: loop) { added.result = $0 }
        settle()
        if let error = added.error { return .transaction(error) }
        let outcome = Outcome<OffsetRefusal?>()
        let commit = OffsetCommit(
            groupId: group,
            positions: offsets.sorted { $0.key < $1.key }.map {
                OffsetCommit.Position(topic: topic, partition: $0.key, offset: $0.value)
            })
        transactions.commitOffsets(commit, of: producer.id, producer.producer, on: loop) {
            outcome.result = .success($0)
        }
        settle()
        return (try? outcome.result?.get()) ?? nil
    }

    func committed(_ group: String, _ topic: String, _ partition: Int32) throws -> Int64? {
        let topics = try engine.groups.committed(
            groupId: group, topics: [TopicPartitions(topic: topic, partitions: [partition])])
        return topics[0].positions[0].offset?.offset
    }
}

/// What a client with `isolation.level=read_committed` makes of a partition.
func readCommitted(_ partition: Partition) throws -> [String] {
    var values: [String] = []
    var next = partition.offsets.start
    while true {
        let read = try partition.readCommitted(from: next, maxBytes: 300)
        guard let slice = read.slice else { return values }
        // A client skips what lies between an aborted transaction's start and its marker.
        var waiting = read.aborted.sorted { $0.firstOffset < $1.firstOffset }[...]
        var aborting: Set<Int64> = []
        var bytes = ByteBuffer()
        try slice.read(into: &bytes)
        while let header = BatchHeader(bytes), let whole = bytes.readSlice(length: header.sizeInBytes) {
            next = header.nextOffset
            while let first = waiting.first, first.firstOffset <= header.lastOffset {
                aborting.insert(first.producerId)
                waiting.removeFirst()
            }
            if header.isControl {
                if TransactionMarker.read(whole)?.marker == .abort { aborting.remove(header.producerId) }
                continue
            }
            if header.isTransactional && aborting.contains(header.producerId) { continue }
            var reader = try RecordBatchReader(whole, decompressor: Decompressor())
            while let record = try reader.next() {
                values.append(record.value.map { String(buffer: $0) } ?? "-")
            }
        }
    }
}
