// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ListOffsets (key 2).
//
// Versions: 1 to 10.
// Behaviour: -2 is the log's start, -1 its end, -3 the record with the highest timestamp (KIP-734), -4 the first
//   local offset (the start: nothing is tiered, KIP-405), -5 the last tiered offset (none: -1, KIP-1005); any
//   timestamp >= 0 finds the first record at or after it, -1/-1 if there is none. For read_committed the end is the
//   last stable offset, and there is nothing at or after it.
// Deviations from Kafka: none known.
// Notes: 4 adds leader epochs, 6 is flexible, 7 allows -3, 8 allows -4, 9 allows -5, 10 adds a timeout.

import Engine
import KafkaWire

enum ListOffsetsHandler: KafkaHandler {
    static func handle(_ request: ListOffsetsRequest, _ exchange: Exchange) {
        let count = request.topics.reduce(0) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        let repeated = repeatedPartitions(request)
        var response = ListOffsetsResponse()
        let isolation = IsolationLevel(rawValue: request.isolationLevel) ?? .readUncommitted
        response.topics = request.topics.map { wanted in
            let topic = exchange.engine.topics.topic(named: wanted.name)
            var answer = ListOffsetsResponse.Topic()
            answer.name = wanted.name
            answer.partitions = wanted.partitions.map { partition in
                guard !repeated.contains(Asked(topic: wanted.name, index: partition.partitionIndex)) else {
                    return refusal(partition)
                }
                guard isKnown(partition.timestamp, version: exchange.version) else {
                    return refusal(partition, .unsupportedVersion)
                }
                return find(partition, in: topic, isolation)
            }
            return answer
        }
        exchange.reply(response)
    }

    private struct Asked: Hashable {
        var topic: String
        var index: Int32
    }

    /// Partitions that are asked for more than once: a look-up by time reads from the disk, and one is enough.
    private static func repeatedPartitions(_ request: ListOffsetsRequest) -> Set<Asked> {
        var seen: Set<Asked> = []
        var repeated: Set<Asked> = []
        for topic in request.topics {
            for partition in topic.partitions {
                let asked = Asked(topic: topic.name, index: partition.partitionIndex)
                if !seen.insert(asked).inserted { repeated.insert(asked) }
            }
        }
        return repeated
    }

    /// Special values came with versions; what is none and negative is refused like one of a later version.
    private static func isKnown(_ timestamp: Int64, version: Int16) -> Bool {
        switch timestamp {
        case -1, -2: true
        case -3: version >= 7
        case -4: version >= 8
        case -5: version >= 9
        default: timestamp >= 0
        }
    }

    private static func refusal(
        _ wanted: ListOffsetsRequest.Partition, _ code: KafkaErrorCode = .invalidRequest
    ) -> ListOffsetsResponse.Partition {
        var answer = ListOffsetsResponse.Partition()
        answer.partitionIndex = wanted.partitionIndex
        answer.errorCode = code
        return answer
    }

    private static func find(
        _ wanted: ListOffsetsRequest.Partition, in topic: Topic?, _ isolation: IsolationLevel
    ) -> ListOffsetsResponse.Partition {
        var answer = ListOffsetsResponse.Partition()
        answer.partitionIndex = wanted.partitionIndex
        guard let partition = topic?.partition(wanted.partitionIndex) else {
            answer.errorCode = .unknownTopicOrPartition
            return answer
        }
        guard wanted.currentLeaderEpoch <= 0 else {
            answer.errorCode = .unknownLeaderEpoch
            return answer
        }
        do {
            if let (offset, timestamp) = try find(wanted.timestamp, in: partition, isolation) {
                answer.offset = offset
                answer.timestamp = timestamp
                answer.leaderEpoch = 0
            }
        } catch {
            answer.errorCode = KafkaErrorCode(error)
        }
        return answer
    }

    /// The offset for a timestamp or special value, and the timestamp to answer; nil if there is none.
    private static func find(
        _ timestamp: Int64, in partition: Partition, _ isolation: IsolationLevel
    ) throws(EngineError) -> (offset: Int64, timestamp: Int64)? {
        let found: (offset: Int64, timestamp: Int64)?
        switch timestamp {
        case -1 where isolation == .readCommitted: return (try partition.lastStableOffset(), -1)
        case -1: return (partition.offsets.highWatermark, -1)
        case -2, -4: return (partition.offsets.start, -1)
        case -3: found = try partition.offsetOfMaxTimestamp()
        case -5: return nil
        default: found = try partition.offset(forTimestamp: timestamp)
        }
        guard isolation == .readCommitted, let found else { return found }
        return found.offset < (try partition.lastStableOffset()) ? found : nil
    }
}
