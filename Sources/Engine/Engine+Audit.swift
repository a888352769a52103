// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the state of what is changed, as the audit log shows it; and the topic that holds audit events.

import Bytes
import NIOCore
import Records
import Telemetry

extension Engine {
    /// nil: there is no such topic.
    package func topicState(_ name: String) -> [String: String]? {
        topics.topic(named: name).map { topic in
            topic.configuration.overrides.merging(["partitions": "\(topic.partitionCount)"]) { $1 }
        }
    }

    /// A group's committed offsets of these partitions; nil: none of them has any.
    package func offsetsState(_ group: String, _ partitions: [(topic: String, index: Int32)]) -> [String: String]? {
        let topics = Dictionary(grouping: partitions, by: \.topic).map { topic, partitions in
            TopicPartitions(topic: topic, partitions: partitions.map(\.index))
        }
        var state: [String: String] = [:]
        for known in (try? groups.committed(groupId: group, topics: topics)) ?? [] {
            for position in known.positions {
                guard let offset = position.offset else { continue }
                state["\(known.topic)-\(position.partition)"] = "\(offset.offset)"
            }
        }
        return state.isEmpty ? nil : state
    }
}

/// Audit events as records of a topic, which is made when the first one comes. Used on one event loop.
package final class AuditTopic: AuditSink, @unchecked Sendable {
    // Unchecked: `write` and its completions run on `loop`; the counter is only used there.
    private static let batchBytes = 512 << 10

    private let engine: Engine
    private let name: String
    private let loop: any EventLoop
    /// Lines whose append failed after `write` had returned.
    private var lost = 0

    package init(engine: Engine, name: String, loop: any EventLoop) {
        self.engine = engine
        self.name = name
        self.loop = loop
    }

    /// Lines that cannot be appended at once are reported as lost; those whose write fails later, with the next call.
    package func write(_ lines: [String]) -> Int {
        defer { lost = 0 }
        guard let partition = engine.topics.topic(named: name)?.partition(0) else {
            // Only the first events wait for it.
            engine.topics.topicOrCreate(TopicSpecification(name: name, partitions: 1), on: loop).whenComplete { result in
                switch result {
                case .success: self.append(lines[...])
                case .failure: self.lost += lines.count
                }
            }
            return lost
        }
        append(lines[...], to: partition)
        return lost
    }

    private func append(_ lines: ArraySlice<String>) {
        guard let partition = engine.topics.topic(named: name)?.partition(0) else { return lost += lines.count }
        append(lines, to: partition)
    }

    private func append(_ lines: ArraySlice<String>, to partition: Partition) {
        var rest = lines
        while !rest.isEmpty {
            var builder = RecordBatchBuilder()
            var bytes = 0
            var count = 0
            for line in rest {
                builder.append(key: nil, value: ByteBuffer(string: line), timestamp: engine.clock.nowMs())
                bytes += line.utf8.count + 32
                count += 1
                if bytes > Self.batchBytes { break }
            }
            rest = rest.dropFirst(count)
            partition.append(builder.finish(), acks: .leader, turn: engine.turns.turn(for: loop)) { [count] result in
                if case .failure = result { self.lost += count }
            }
        }
    }
}
