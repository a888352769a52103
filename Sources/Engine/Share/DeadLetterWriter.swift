// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: dead letters of share groups (KIP-1191): records that nobody is going to be given again, kept in a topic.
//
// A dead letter has the record's key, value and headers (unless the group says otherwise) and headers that say why, where from and how
// often it was delivered. A record that is not in the log any more gives one without a value. Written with acks=all.
// Stateless; on the loop that the caller names.

import NIOCore
import Records
import Storage

/// The headers of a dead letter.
package enum DeadLetterHeader {
    package static let prefix = "__dlq.errors."
    package static let topic = "__dlq.errors.topic"
    package static let partition = "__dlq.errors.partition"
    package static let offset = "__dlq.errors.offset"
    package static let group = "__dlq.errors.group"
    package static let deliveryCount = "__dlq.errors.delivery.count"
    package static let message = "__dlq.errors.message"
}

struct DeadLetterWriter: Sendable {
    let topics: TopicCatalog
    let turns: Turns
    let createsTopics: Bool
    let nowMs: @Sendable () -> Int64

    /// Dead letters written as one batch.
    private static let batchRecords = 100

    /// Writes the letters; `completion` runs on `loop` when they are durable. On `loop`.
    func write(
        _ letters: [SharePartition.DeadLetter], of partition: Partition, group: String, _ settings: ShareGroupSettings,
        on loop: any EventLoop, completion: @escaping @Sendable (EngineError?) -> Void
    ) {
        let name = settings.deadLetterTopicName
        guard !name.isEmpty else { return completion(nil) }
        if let topic = topics.topic(named: name) {
            return append(letters[...], of: partition, group, settings, to: topic, on: loop, completion: completion)
        }
        guard createsTopics else {
            return completion(EngineError(.unknownTopic, "the dead-letter topic \(name) does not exist"))
        }
        topics.topicOrCreate(TopicSpecification(name: name), on: loop).whenComplete { result in
            switch result {
            case .success(let topic):
                self.append(letters[...], of: partition, group, settings, to: topic, on: loop, completion: completion)
            case .failure(let error):
                completion(error as? EngineError ?? EngineError(.storageFailure, "\(name) could not be made: \(error)"))
            }
        }
    }

    private func append(
        _ letters: ArraySlice<SharePartition.DeadLetter>, of partition: Partition, _ group: String,
        _ settings: ShareGroupSettings, to topic: Topic, on loop: any EventLoop,
        completion: @escaping @Sendable (EngineError?) -> Void
    ) {
        guard !letters.isEmpty else { return completion(nil) }
        let target = topic.partitions[Int(partition.index) % topic.partitionCount]
        let now = letters.prefix(Self.batchRecords)
        let rest = letters.dropFirst(Self.batchRecords)
        var builder = RecordBatchBuilder()
        for letter in now {
            let record = settings.copiesDeadRecord ? record(letter.offset, of: partition, loop) : nil
            builder.append(
                key: record?.key, value: record?.value, headers: headers(letter, record, partition, group),
                timestamp: nowMs())
        }
        target.append(builder.finish(), acks: .all, turn: turns.turn(for: loop)) { result in
            switch result {
            case .failure(let error): completion(error)
            case .success:
                self.append(rest, of: partition, group, settings, to: topic, on: loop, completion: completion)
            }
        }
    }

    private func record(_ offset: Int64, of partition: Partition, _ loop: any EventLoop) -> Record? {
        // Whatever keeps it from being read, the dead letter still says which record it was.
        guard let slice = try? partition.read(from: offset, maxBytes: 1).slice else { return nil }
        var bytes = ByteBuffer()
        guard (try? slice.read(into: &bytes)) != nil,
            var reader = try? RecordBatchReader(bytes, decompressor: turns.turn(for: loop).decompressor)
        else { return nil }
        while let record = try? reader.next() {
            if record.offset == offset { return record }
        }
        return nil
    }

    private func headers(
        _ letter: SharePartition.DeadLetter, _ record: Record?, _ partition: Partition, _ group: String
    ) -> [RecordHeader] {
        let message = letter.reason.isEmpty ? letter.cause.rawValue : "\(letter.cause.rawValue) \(letter.reason)"
        let added = [
            (DeadLetterHeader.topic, partition.topic), (DeadLetterHeader.partition, "\(partition.index)"),
            (DeadLetterHeader.offset, "\(letter.offset)"), (DeadLetterHeader.group, group),
            (DeadLetterHeader.deliveryCount, "\(letter.deliveryCount)"), (DeadLetterHeader.message, message),
        ]
        // A record that was a dead letter once says what happened last.
        let kept = (record?.headers ?? []).filter { !$0.key.hasPrefix(DeadLetterHeader.prefix) }
        return kept + added.map { RecordHeader(key: $0.0, value: ByteBuffer(string: $0.1)) }
    }
}
