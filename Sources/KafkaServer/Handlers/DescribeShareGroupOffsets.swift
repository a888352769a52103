// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeShareGroupOffsets (key 90).
//
// Versions: 0 and 1.
// Behaviour: where each group starts in the partitions that are named, or in all that it has begun (topics null). -1 where it has not
//   begun, or there is no such partition: that is no error.
// Deviations from Kafka: none known.
// Notes: 1 adds the lag (KIP-1226): what lies between the start and the end and is not done with.

import Bytes
import Engine
import KafkaWire

enum DescribeShareGroupOffsetsHandler: KafkaHandler {
    static func handle(_ request: DescribeShareGroupOffsetsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.groups.count, "groups", limit: Limits.groupsPerRequest) else { return }
        let shares = exchange.engine.shares
        var response = DescribeShareGroupOffsetsResponse()
        response.groups = request.groups.map { wanted in
            var group = DescribeShareGroupOffsetsResponse.Group()
            group.groupId = wanted.groupId
            guard shares.contains(wanted.groupId) else {
                group.errorCode = .groupIdNotFound
                group.errorMessage = "Group \(wanted.groupId) not found."
                return group
            }
            let topics: [(String, [Int32]?)] =
                wanted.topics.map { $0.map { ($0.topicName, $0.partitions) } }
                ?? shares.topics(of: wanted.groupId).map { ($0, nil) }
            group.topics = topics.map { name, partitions in
                var topic = DescribeShareGroupOffsetsResponse.Topic()
                topic.topicName = name
                topic.topicId = exchange.engine.topics.topic(named: name)?.id ?? .zero
                topic.partitions = shares.offsets(wanted.groupId, topic: name, partitions: partitions).map { offset in
                    var answer = DescribeShareGroupOffsetsResponse.Partition()
                    answer.partitionIndex = offset.partition
                    answer.startOffset = offset.startOffset
                    answer.lag = offset.lag
                    return answer
                }
                return topic
            }
            return group
        }
        exchange.reply(response)
    }
}
