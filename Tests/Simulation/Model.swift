// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: the plain model of what must be on the disk.
//
// It knows what was sent, what was answered and what was seen, and derives from that what must be found after a restart. It
// shares no code with the broker but the parsing of record batches. Collections are walked in a fixed order only.

import Bytes
import NIOCore
import Storage

/// One batch that somebody sent, perhaps several times (idempotent producers).
final class SentBatch {
    let number: Int
    unowned let partition: PartitionModel
    /// The first record's; the others follow.
    let firstTag: UInt64
    let sizes: [Int]
    let maxTimestamp: Int64
    /// As a Kafka producer sent it; nil for gRPC, where the broker builds the batch.
    var bytes: ByteBuffer?
    var producer: (id: Int64, epoch: Int16, sequence: Int32)?
    /// Sendings whose outcome is not known: the batch may be in the log.
    var unresolved = 0
    /// Where it is, once an answer or a reader said so.
    var offset: Int64?
    /// Bytes in the log, once they were seen.
    var storedBytes: Int?

    init(_ number: Int, _ partition: PartitionModel, firstTag: UInt64, sizes: [Int], maxTimestamp: Int64) {
        self.number = number
        self.partition = partition
        self.firstTag = firstTag
        self.sizes = sizes
        self.maxTimestamp = maxTimestamp
    }

    var count: Int { sizes.count }

    /// The value of the record at `index`.
    func value(_ index: Int) -> [UInt8] { Payload.value(firstTag + UInt64(index), size: sizes[index]) }
}

/// Record values that tell who they are, and are like no other.
enum Payload {
    static func value(_ tag: UInt64, size: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size + 8)
        for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: tag >> UInt64(shift))) }
        var word = tag &* 0x9e37_79b9_7f4a_7c15
        for index in 0..<max(0, size - 8) {
            // Runs of equal bytes, so that compression has something to do.
            if index % 16 == 0 { word = (word ^ (word >> 29)) &* 0xbf58_476d_1ce4_e5b9 }
            bytes.append(UInt8(truncatingIfNeeded: word >> 32))
        }
        return bytes
    }

    static func tag(of value: ByteBuffer) -> UInt64? { value.getInteger(at: value.readerIndex) }
}

/// One partition of one life of a topic.
final class PartitionModel {
    let number: Int
    let topic: String
    let index: Int32
    unowned let incarnation: Incarnation
    /// What is known to be in the log, by base offset: acknowledged with acks=1 or more, or seen by a reader.
    var content: [Int64: SentBatch] = [:]
    /// Sent, and perhaps in the log.
    var flying: [SentBatch] = []
    /// Everything below was acknowledged as durable.
    var durableEnd: Int64 = 0
    /// The highest end that an answer or a reader has shown since the machine last lost power.
    var knownEnd: Int64 = 0
    /// Where the log started when it was last looked at, and what the last checkpoint said.
    var start: Int64 = 0
    var startSaved: Int64 = 0
    /// Records below may be gone: somebody asked for that, or retention was due.
    var deletedBelow: Int64 = 0
    /// The highest start that DeleteRecords was asked for.
    var askedBelow: Int64 = 0
    /// Everything below is described by a checkpoint: bits that flip there are noticed.
    var coldEnd: Int64 = 0
    /// Batches that were deleted and then stored anew elsewhere: a power cut may bring the old copy back, as long as no
    /// checkpoint has the new start.
    var deletedCopies: [Int64: SentBatch] = [:]
    /// Base offsets of batches in which a bit was flipped.
    var damaged: Set<Int64> = []

    init(_ number: Int, _ incarnation: Incarnation, _ index: Int32) {
        self.number = number
        self.incarnation = incarnation
        topic = incarnation.name
        self.index = index
    }

    var name: String { "\(topic)-\(index)" }

    func isDeletedCopy(_ offset: Int64) -> Bool {
        deletedCopies.contains { $0.key <= offset && offset < $0.key + Int64($0.value.count) }
    }

    /// The known batch that has this offset.
    func batch(containing offset: Int64) -> (base: Int64, batch: SentBatch)? {
        for (base, batch) in content where base <= offset && offset < base + Int64(batch.count) { return (base, batch) }
        return nil
    }
}

/// A topic from its creation to its deletion.
final class Incarnation {
    let name: String
    var id: TopicId?
    var partitions: [PartitionModel] = []
    var overrides: [String: String]

    init(_ name: String, overrides: [String: String]) {
        self.name = name
        self.overrides = overrides
    }
}

/// A change of a topic that was asked for.
enum TopicChange {
    case create(Incarnation)
    case delete
    case alter([String: String])
    case grow([PartitionModel])
}

/// What is known of a topic's name.
final class TopicModel {
    let name: String
    /// As the last answer left it.
    var current: Incarnation?
    /// Asked for and not answered, or answered with an error that leaves it open.
    var open: TopicChange?
    /// Whether an answer to `open` is still to come.
    var isWaiting = false

    init(_ name: String) { self.name = name }

    var isSettled: Bool { open == nil }
}

/// What is known of one committed offset.
final class CommitModel {
    /// The last one that was acknowledged; nil: none, or deleted.
    var value: Int64?
    /// When that was sent, in the order of all commits.
    var sent = 0
    /// Sent and not known to have failed.
    var flying: [(sent: Int, value: Int64)] = []

    var allowed: [Int64?] { [value] + flying.filter { $0.sent > sent }.map { $0.value } }
}

struct CommitKey: Hashable, Comparable {
    var group: String
    var topic: String
    var partition: Int32

    static func < (left: CommitKey, right: CommitKey) -> Bool {
        (left.group, left.topic, left.partition) < (right.group, right.topic, right.partition)
    }
}

/// Everything together.
final class Model {
    let topics: [TopicModel]
    /// Kept for the whole life; batches and partitions refer to them unowned.
    private var incarnations: [Incarnation] = []
    private(set) var partitions: [PartitionModel] = []
    private(set) var batches: [SentBatch] = []
    private var byCRC: [UInt32: SentBatch] = [:]
    private var byTag: [UInt64: SentBatch] = [:]
    private var nextTag: UInt64 = 1
    var usedIds: Set<TopicId> = []
    var commits: [CommitKey: CommitModel] = [:]
    var commitCount = 0

    init(topics names: [String]) { topics = names.map { TopicModel($0) } }

    func makeIncarnation(_ name: String, partitions count: Int, overrides: [String: String]) -> Incarnation {
        let incarnation = Incarnation(name, overrides: overrides)
        incarnations.append(incarnation)
        incarnation.partitions = (0..<count).map { makePartition(incarnation, Int32($0)) }
        return incarnation
    }

    func makePartition(_ incarnation: Incarnation, _ index: Int32) -> PartitionModel {
        let partition = PartitionModel(partitions.count, incarnation, index)
        partitions.append(partition)
        return partition
    }

    func makeBatch(_ partition: PartitionModel, sizes: [Int], maxTimestamp: Int64) -> SentBatch {
        let batch = SentBatch(batches.count, partition, firstTag: nextTag, sizes: sizes, maxTimestamp: maxTimestamp)
        nextTag += UInt64(sizes.count)
        batches.append(batch)
        byTag[batch.firstTag] = batch
        return batch
    }

    func register(_ batch: SentBatch, crc: UInt32) { byCRC[crc] = batch }

    func batch(crc: UInt32) -> SentBatch? { byCRC[crc] }
    func batch(tag: UInt64) -> SentBatch? { byTag[tag] }

    /// Every partition that there should be now.
    var livePartitions: [PartitionModel] { topics.compactMap(\.current).flatMap(\.partitions) }

    func commit(_ key: CommitKey) -> CommitModel {
        if let known = commits[key] { return known }
        let made = CommitModel()
        commits[key] = made
        return made
    }
}
