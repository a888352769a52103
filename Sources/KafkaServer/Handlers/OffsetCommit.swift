// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: OffsetCommit (key 8).
//
// Versions: 2 to 9.
// Behaviour: answered when the positions are as durable as the broker promises. Unknown partitions and too long
//   metadata fail on their own, what is wrong with the member or the group fails all.
// Deviations from Kafka: INVALID_COMMIT_OFFSET_SIZE for bounds that Kafka does not have (GroupConfiguration).
// Notes: 2 to 4 have a retention time (-1: the broker's); 3 adds the throttle time, 6 leader epochs (KIP-320), 7 static
//   members (KIP-345). A generation in a group that is not there is GROUP_ID_NOT_FOUND since 9, ILLEGAL_GENERATION
//   before. A member of a consumer group (KIP-848) commits with its epoch, since 9; another epoch is STALE_MEMBER_EPOCH,
//   an older version UNSUPPORTED_VERSION.

import Engine
import KafkaWire

enum OffsetCommitHandler: KafkaHandler {
    static func handle(_ request: OffsetCommitRequest, _ exchange: Exchange) {
        var response = OffsetCommitResponse()
        // Where the answer to each position that is passed on belongs.
        var places: [(topic: Int, partition: Int)] = []
        var positions: [OffsetCommit.Position] = []
        response.topics.reserveCapacity(request.topics.count)
        for (topicAt, topic) in request.topics.enumerated() {
            let target = exchange.engine.topics.topic(named: topic.name)
            var answer = OffsetCommitResponse.Topic()
            answer.name = topic.name
            for (partitionAt, partition) in topic.partitions.enumerated() {
                var each = OffsetCommitResponse.Partition()
                each.partitionIndex = partition.partitionIndex
                if target?.partition(partition.partitionIndex) == nil {
                    each.errorCode = .unknownTopicOrPartition
                } else {
                    places.append((topicAt, partitionAt))
                    positions.append(position(topic.name, partition))
                }
                answer.partitions.append(each)
            }
            response.topics.append(answer)
        }
        guard !positions.isEmpty else { return exchange.reply(response) }
        commit(positions, of: request, exchange) { [response, places] code in
            var response = response
            for (index, place) in places.enumerated() {
                response.topics[place.topic].partitions[place.partition].errorCode = code(index)
            }
            exchange.reply(response)
        }
    }

    private static func position(
        _ topic: String, _ partition: OffsetCommitRequest.Partition
    ) -> OffsetCommit.Position {
        OffsetCommit.Position(
            topic: topic, partition: partition.partitionIndex, offset: partition.committedOffset,
            leaderEpoch: partition.committedLeaderEpoch, metadata: partition.committedMetadata ?? "")
    }

    /// `answer` gets the error code of each position, by its index.
    private static func commit(
        _ positions: [OffsetCommit.Position], of request: OffsetCommitRequest, _ exchange: Exchange,
        answer: @escaping @Sendable ((Int) -> KafkaErrorCode) -> Void
    ) {
        let version = exchange.version
        var commit = OffsetCommit(
            groupId: request.groupId,
            member: GroupMemberIdentity(memberId: request.memberId, groupInstanceId: request.groupInstanceId),
            generationId: request.generationIdOrMemberEpoch,
            retentionMs: request.retentionTimeMs == -1 ? nil : request.retentionTimeMs, positions: positions)
        commit.knowsMemberEpochs = version >= 9
        exchange.engine.groups.commit(commit, on: exchange.loop) { result in
            switch result {
            case .success(let errors): answer { KafkaErrorCode(errors[$0]) }
            case .failure(.groupIdNotFound) where version < 9: answer { _ in .illegalGeneration }
            case .failure(let error): answer { _ in KafkaErrorCode(error) }
            }
        }
    }
}
