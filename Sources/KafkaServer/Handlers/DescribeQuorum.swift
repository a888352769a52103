// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeQuorum (key 55).
//
// Versions: 0 to 2.
// Behaviour: the quorum of `__cluster_metadata`, partition 0, is this node: leader, only voter, always caught up. Its offsets are
//   those of the broker's own log of metadata. Any other partition is UNKNOWN_TOPIC_OR_PARTITION.
// Deviations from Kafka: the epoch is always 1 and the voter has no directory id; there is no raft here. The listener in `nodes`
//   is the one that clients use.
// Notes: 1 adds timestamps, 2 directory ids, nodes and error messages.

import Bytes
import Engine
import KafkaWire

enum DescribeQuorumHandler: KafkaHandler {
    private static let topic = "__cluster_metadata"

    static func handle(_ request: DescribeQuorumRequest, _ exchange: Exchange) {
        let count = request.topics.reduce(request.topics.count) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        var response = DescribeQuorumResponse()
        // As in Kafka, one partition that is another makes the whole request one about unknown partitions.
        let isKnown =
            request.topics.count == 1 && request.topics[0].topicName == topic
            && request.topics[0].partitions.map(\.partitionIndex) == [0]
        response.topics = request.topics.map { wanted in
            var answer = DescribeQuorumResponse.Topic()
            answer.topicName = wanted.topicName
            answer.partitions = wanted.partitions.map { partition in
                isKnown ? describe(exchange) : unknown(partition.partitionIndex)
            }
            return answer
        }
        if isKnown { response.nodes = [node(exchange)] }
        exchange.reply(response)
    }

    private static func unknown(_ index: Int32) -> DescribeQuorumResponse.Partition {
        var answer = DescribeQuorumResponse.Partition()
        answer.partitionIndex = index
        answer.errorCode = .unknownTopicOrPartition
        answer.errorMessage = "This server does not host this topic-partition."
        return answer
    }

    private static func describe(_ exchange: Exchange) -> DescribeQuorumResponse.Partition {
        let engine = exchange.engine
        var voter = DescribeQuorumResponse.ReplicaState()
        voter.replicaId = engine.configuration.nodeId
        voter.logEndOffset = engine.metadataEndOffset
        voter.lastFetchTimestamp = engine.clock.nowMs()
        voter.lastCaughtUpTimestamp = voter.lastFetchTimestamp
        var answer = DescribeQuorumResponse.Partition()
        answer.leaderId = engine.configuration.nodeId
        answer.leaderEpoch = 1
        answer.highWatermark = voter.logEndOffset
        answer.currentVoters = [voter]
        return answer
    }

    private static func node(_ exchange: Exchange) -> DescribeQuorumResponse.Node {
        var listener = DescribeQuorumResponse.Listener()
        let address = exchange.advertisedAddress
        listener.name = "CONTROLLER"
        listener.host = address.host
        listener.port = UInt16(clamping: address.port)
        var node = DescribeQuorumResponse.Node()
        node.nodeId = exchange.engine.configuration.nodeId
        node.listeners = [listener]
        return node
    }
}
