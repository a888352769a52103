// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: TxnOffsetCommit (key 28).
//
// Versions: 0 to 5.
// Behaviour: the offsets are kept with the transaction and count when it commits. What is wrong with the producer, the
//   member or the group fails all; unknown partitions fail on their own.
// Deviations from Kafka: a producer that is not the transactional id's is told so here already.
// Notes: 2 adds leader epochs, 3 is flexible and adds the member and its generation (KIP-447), 4 knows
//   TRANSACTION_ABORTABLE, 5 needs no AddOffsetsToTxn before it (KIP-890).

import Engine
import KafkaWire

enum TxnOffsetCommitHandler: KafkaHandler {
    static func handle(_ request: TxnOffsetCommitRequest, _ exchange: Exchange) {
        guard !request.groupId.isEmpty else {
            return exchange.reply(response(to: request, exchange, .group(.invalidGroupId)))
        }
        let topics = exchange.engine.topics
        var positions: [OffsetCommit.Position] = []
        for topic in request.topics {
            let target = topics.topic(named: topic.name)
            for partition in topic.partitions where target?.partition(partition.partitionIndex) != nil {
                positions.append(
                    OffsetCommit.Position(
                        topic: topic.name, partition: partition.partitionIndex,
                        offset: partition.committedOffset, leaderEpoch: partition.committedLeaderEpoch,
                        metadata: partition.committedMetadata ?? ""))
            }
        }
        let commit = OffsetCommit(
            groupId: request.groupId,
            member: GroupMemberIdentity(
                memberId: request.memberId, groupInstanceId: request.groupInstanceId),
            generationId: request.generationId, positions: positions)
        exchange.engine.transactions.commitOffsets(
            commit, of: request.transactionalId,
            TransactionalProducer(id: request.producerId, epoch: request.producerEpoch),
            by: exchange.version >= 5 ? .two : .one, on: exchange.loop
        ) { refusal in
            exchange.reply(response(to: request, exchange, refusal))
        }
    }

    private static func response(
        to request: TxnOffsetCommitRequest, _ exchange: Exchange, _ refusal: OffsetRefusal?
    ) -> TxnOffsetCommitResponse {
        let code: KafkaErrorCode =
            switch refusal {
            case nil: .none
            // Kafka knows GROUP_ID_NOT_FOUND in OffsetCommit 9 only.
            case .group(.groupIdNotFound): .illegalGeneration
            case .group(let error): KafkaErrorCode(error)
            case .transaction(.invalidTxnState) where exchange.version >= 4: .transactionAbortable
            // What the group coordinator of Kafka says of a fenced producer, in every version.
            case .transaction(let error): KafkaErrorCode(error, isFencedKnown: false)
            }
        var response = TxnOffsetCommitResponse()
        response.topics = request.topics.map { topic in
            let target = exchange.engine.topics.topic(named: topic.name)
            var answer = TxnOffsetCommitResponse.Topic()
            answer.name = topic.name
            answer.partitions = topic.partitions.map { partition in
                var each = TxnOffsetCommitResponse.Partition()
                each.partitionIndex = partition.partitionIndex
                let exists = target?.partition(partition.partitionIndex) != nil
                each.errorCode = exists || code != .none ? code : .unknownTopicOrPartition
                return each
            }
            return answer
        }
        return response
    }
}
