// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: reads the records of a topic's partitions, in the order of their offsets.
//
// Owned by one thread that may wait. One fetch at a time to each leader, all leaders in turn; a
// record is handed on as slices of the answer. Aborted transactions are left out under read
// committed, control records always.

import KafkaWire
import NIOCore
import Records

/// Where reading starts.
package enum StartPosition: Equatable, Sendable {
    case earliest
    case latest
    case offset(Int64)
    /// Milliseconds since the epoch: the first record that is not older.
    case timestamp(Int64)

    /// Reads `earliest`, `latest`, an offset, or `@` and a timestamp.
    package init(_ text: String) throws(ClientError) {
        if text == "earliest" || text == "beginning" {
            self = .earliest
        } else if text == "latest" || text == "end" {
            self = .latest
        } else if text.first == "@", let ms = Int64(text.dropFirst()), ms >= 0 {
            self = .timestamp(ms)
        } else if let offset = Int64(text), offset >= 0 {
            self = .offset(offset)
        } else {
            throw ClientError(
                .invalidArgument,
                """
                '\(text)' is no place to start: write earliest, latest, an offset, or @ and \
                milliseconds since 1970
                """
            )
        }
    }
}

/// A record and where it was found.
package struct ReadRecord: Sendable {
    package var topic: String
    package var partition: Int32
    package var record: Record
}

/// Reads a topic.
package final class TopicReader {
    private struct Position {
        var leader: PartitionLeader
        var next: Int64
        /// Where to stop; nil: never.
        var end: Int64?

        var isDone: Bool { end.map { next >= $0 } ?? false }
    }

    private let client: KafkaClient
    private let topic: String
    private var positions: [Position] = []
    private let decompressor = Decompressor()
    private static let maxWaitMs: Int32 = 500
    private static let fetchBytes: Int32 = 16 * 1024 * 1024
    private static let partitionBytes: Int32 = 2 * 1024 * 1024

    /// - Parameters:
    ///   - partitions: only these; empty: all.
    ///   - group: where it has committed, reading goes on there instead of at `start`.
    ///   - stopsAtEnd: reading ends at the records that are there now.
    package init(
        client: KafkaClient, topic: String, partitions: [Int32] = [], from start: StartPosition,
        group: GroupOffsets? = nil, stopsAtEnd: Bool
    ) throws(ClientError) {
        self.client = client
        self.topic = topic
        var leaders = try client.leaders(of: topic, creates: false)
        for partition in partitions where !leaders.contains(where: { $0.partition == partition }) {
            throw ClientError(.invalidArgument, "topic '\(topic)' has no partition \(partition)")
        }
        leaders.removeAll { !partitions.isEmpty && !partitions.contains($0.partition) }
        let committed = try group?.committed(topic: topic, partitions: leaders.map(\.partition))
        for leader in leaders {
            let end = stopsAtEnd ? try offset(.latest, leader) : nil
            var next = committed?[leader.partition] ?? -1
            if next < 0 { next = try offset(start, leader) }
            positions.append(Position(leader: leader, next: next, end: end))
        }
    }

    /// The next offset to be read of each partition.
    package var nextOffsets: [Int32: Int64] {
        Dictionary(uniqueKeysWithValues: positions.map { ($0.leader.partition, $0.next) })
    }

    /// Every partition was read to where reading ends.
    package var isDone: Bool { positions.allSatisfy(\.isDone) }

    /// Fetches once from every leader; `body` gets the records and answers whether to go on.
    package func poll(
        _ body: (ReadRecord) throws(ClientError) -> Bool
    ) throws(ClientError) {
        let open = positions.indices.filter { !positions[$0].isDone }
        for leader in Set(open.map { positions[$0].leader.leader }) {
            let places = open.filter { positions[$0].leader.leader == leader }
            let connection = try client.connection(to: leader)
            let answer = try client.wait(
                connection.send(request(places), versionLimit: KafkaClient.fetchVersionLimit))
            guard answer.errorCode == .none else {
                throw KafkaClient.refusal(answer.errorCode, topic)
            }
            for partition in answer.topics.flatMap(\.partitions) {
                guard
                    let place = places.first(where: {
                        positions[$0].leader.partition == partition.partitionIndex
                    })
                else { continue }
                guard try read(partition, place, body) else { return }
            }
        }
    }

    private func offset(
        _ start: StartPosition, _ leader: PartitionLeader
    ) throws(ClientError) -> Int64 {
        typealias Special = ListOffsetsRequest.SpecialTimestamp
        let latest = Special.latest
        switch start {
        case .offset(let offset): return offset
        case .earliest:
            return try client.offset(
                atTimestamp: Special.earliest, topic: topic, partition: leader)
        case .latest:
            return try client.offset(atTimestamp: latest, topic: topic, partition: leader)
        case .timestamp(let ms):
            let found = try client.offset(atTimestamp: ms, topic: topic, partition: leader)
            if found >= 0 { return found }
            return try client.offset(atTimestamp: latest, topic: topic, partition: leader)
        }
    }

    private func request(_ places: [Int]) -> FetchRequest {
        var wanted = FetchRequest.Topic()
        wanted.topic = topic
        for place in places {
            var partition = FetchRequest.Partition()
            partition.partition = positions[place].leader.partition
            partition.fetchOffset = positions[place].next
            partition.partitionMaxBytes = Self.partitionBytes
            wanted.partitions.append(partition)
        }
        var request = FetchRequest()
        request.maxWaitMs = Self.maxWaitMs
        request.minBytes = 1
        request.maxBytes = Self.fetchBytes
        request.isolationLevel = 1
        request.topics = [wanted]
        return request
    }

    /// Hands on one partition's records; false: enough.
    private func read(
        _ partition: FetchResponse.Partition, _ place: Int,
        _ body: (ReadRecord) throws(ClientError) -> Bool
    ) throws(ClientError) -> Bool {
        guard partition.errorCode == .none else {
            throw KafkaClient.refusal(partition.errorCode, topic)
        }
        guard case .bytes(var bytes) = partition.records else { return true }
        var aborted = AbortedRanges(partition.abortedTransactions ?? [])
        do {
            while let (header, batch) = try BatchBytes.next(from: &bytes) {
                let isAborted = aborted.contains(header, batch)
                if !header.isControl && !isAborted {
                    guard try read(batch, place, body) else { return false }
                }
                positions[place].next = max(positions[place].next, header.nextOffset)
            }
            return true
        } catch let error as Records.RecordError {
            throw ClientError(
                .badAnswer,
                """
                partition \(partition.partitionIndex) of topic '\(topic)' after offset \
                \(positions[place].next): \(error.message)
                """
            )
        } catch let error as ClientError {
            throw error
        } catch {
            throw ClientError(.badAnswer, "\(error)")
        }
    }

    private func read(
        _ batch: ByteBuffer, _ place: Int, _ body: (ReadRecord) throws(ClientError) -> Bool
    ) throws -> Bool {
        var reader = try RecordBatchReader(batch, decompressor: decompressor)
        while let record = try reader.next() {
            let position = positions[place]
            // A fetch answers with whole batches: the first may begin before the offset asked for.
            guard record.offset >= position.next else { continue }
            if let end = position.end, record.offset >= end { return true }
            positions[place].next = record.offset &+ 1
            let found = ReadRecord(
                topic: topic, partition: position.leader.partition, record: record)
            guard try body(found) else { return false }
        }
        return true
    }
}

/// Which batches of one answer belong to aborted transactions (KIP-98).
private struct AbortedRanges {
    private var upcoming: [FetchResponse.AbortedTransaction]
    private var open: Set<Int64> = []

    init(_ transactions: [FetchResponse.AbortedTransaction]) {
        upcoming = transactions.sorted { $0.firstOffset > $1.firstOffset }
    }

    /// To be asked for every batch, in order. An abort marker ends its producer's transaction.
    mutating func contains(_ header: BatchHeader, _ batch: ByteBuffer) -> Bool {
        while let next = upcoming.last, next.firstOffset <= header.lastOffset {
            open.insert(next.producerId)
            upcoming.removeLast()
        }
        guard header.isTransactional, open.contains(header.producerId) else { return false }
        if header.isControl { open.remove(header.producerId) }
        return true
    }
}
