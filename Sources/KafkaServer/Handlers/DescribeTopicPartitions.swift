// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeTopicPartitions (key 75, KIP-966).
//
// Versions: 0.
// Behaviour: topics sorted by name, from the cursor on, no more partitions than asked for or than
//   `max.request.partition.size.limit` (2000); the next cursor says where to go on. An empty list means all topics.
//   Authorised operations are always filled in.
// Deviations from Kafka: the leader epoch is always 0, and there are no eligible leader replicas besides the leader.

import Engine
import KafkaWire

enum DescribeTopicPartitionsHandler: KafkaHandler {
    typealias Response = DescribeTopicPartitionsResponse

    static func handle(_ request: DescribeTopicPartitionsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.topics.count, "topics", limit: Limits.topicsPerRequest) else { return }
        let from = request.cursor?.topicName ?? ""
        let isAll = request.topics.isEmpty
        let names =
            isAll
            ? exchange.engine.topics.all.map(\.name).filter { $0 >= from }
            : Set(request.topics.map(\.name).filter { $0 >= from }).sorted()
        if let cursor = request.cursor {
            guard cursor.partitionIndex >= 0, isAll || names.contains(cursor.topicName) else {
                return exchange.reply(refusal(request))
            }
        }
        exchange.reply(describe(names, request, isAll: isAll, exchange.engine))
    }

    private static func describe(
        _ names: [String], _ request: DescribeTopicPartitionsRequest, isAll: Bool, _ engine: Engine
    ) -> Response {
        var response = Response()
        var remaining = Int(max(1, min(request.responsePartitionLimit, Limits.partitionsPerDescription)))
        for name in names {
            guard remaining > 0 else {
                response.nextCursor = cursor(name, 0)
                break
            }
            guard let topic = engine.topics.topic(named: name) else {
                if !isAll { response.topics.append(missing(name)) }
                continue
            }
            let first = name == request.cursor?.topicName ? Int(request.cursor?.partitionIndex ?? 0) : 0
            let end = min(topic.partitionCount, first + remaining)
            response.topics.append(answer(topic, first..<max(first, end), engine.configuration.nodeId))
            remaining -= max(0, end - first)
            if end < topic.partitionCount {
                response.nextCursor = cursor(name, Int32(end))
                break
            }
        }
        return response
    }

    private static func answer(_ topic: Topic, _ partitions: Range<Int>, _ node: Int32) -> Response.Topic {
        var answer = Response.Topic()
        answer.name = topic.name
        answer.topicId = topic.id
        answer.isInternal = topic.isInternal
        answer.topicAuthorizedOperations = AuthorizedOperations.topic
        answer.partitions = partitions.map { index in
            var partition = Response.Partition()
            partition.partitionIndex = Int32(index)
            partition.leaderId = node
            partition.leaderEpoch = 0
            partition.replicaNodes = [node]
            partition.isrNodes = [node]
            partition.eligibleLeaderReplicas = []
            partition.lastKnownElr = []
            return partition
        }
        return answer
    }

    private static func missing(_ name: String) -> Response.Topic {
        var answer = Response.Topic()
        answer.name = name
        answer.errorCode = topicNameProblem(name) == nil ? .unknownTopicOrPartition : .invalidTopicException
        answer.topicAuthorizedOperations = AuthorizedOperations.topic
        return answer
    }

    private static func cursor(_ topic: String, _ partition: Int32) -> Response.Cursor {
        var cursor = Response.Cursor()
        cursor.topicName = topic
        cursor.partitionIndex = partition
        return cursor
    }

    /// The cursor is about no topic of the list, or about no partition: every topic named gets INVALID_REQUEST.
    private static func refusal(_ request: DescribeTopicPartitionsRequest) -> Response {
        var response = Response()
        response.topics = request.topics.map { wanted in
            var answer = Response.Topic()
            answer.name = wanted.name
            answer.errorCode = .invalidRequest
            return answer
        }
        return response
    }
}
