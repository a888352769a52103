// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: OffsetFetch (key 9).
//
// Versions: 1 to 9.
// Behaviour: what is committed and durable; -1 where nothing is, also for groups that are not there. "Require stable"
//   (version 7, KIP-447) first waits for the group's commits that are in flight.
// Deviations from Kafka: UNSTABLE_OFFSET_COMMIT does not occur until transactions are served. More groups or positions
//   than Limits allow get INVALID_REQUEST.
// Notes: 2 allows all topics (null) and adds a top-level error, 3 the throttle time, 5 leader epochs (KIP-320), 8 many
//   groups (KIP-709); member id and epoch of 9 are checked in KIP-848's groups (UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH), a
//   classic group ignores them.

import Engine
import KafkaWire

enum OffsetFetchHandler: KafkaHandler {
    static func handle(_ request: OffsetFetchRequest, _ exchange: Exchange) {
        var groups = request.groups
        if exchange.version <= 7 {
            var only = OffsetFetchRequest.Group()
            only.groupId = request.groupId
            only.topics = request.topics
            groups = [only]
        }
        guard exchange.admits(groups.count, "groups", limit: 10 * Limits.groupsPerRequest) else { return }
        guard groups.count <= Limits.groupsPerRequest else {
            return exchange.reply(response(groups.map { refusal($0, .invalidRequest) }, groups, exchange))
        }
        let answers = Answers(groups, exchange)
        for (index, group) in groups.enumerated() where answers.hasRoom(for: group, at: index) {
            fetch(group, requireStable: request.requireStable, exchange) { answers.put($0, at: index) }
        }
        answers.allStarted()
    }

    private typealias Positions = Result<[TopicPositions], GroupError>

    private static func fetch(
        _ group: OffsetFetchRequest.Group, requireStable: Bool, _ exchange: Exchange,
        completion: @escaping @Sendable (Positions) -> Void
    ) {
        do throws(GroupError) {
            try exchange.engine.groups.checkFetch(
                groupId: group.groupId, memberId: group.memberId, memberEpoch: group.memberEpoch)
        } catch {
            return completion(.failure(error))
        }
        let topics = group.topics?.map { TopicPartitions(topic: $0.name, partitions: $0.partitionIndexes) }
        if requireStable {
            return exchange.engine.groups.stableCommitted(
                groupId: group.groupId, topics: topics, on: exchange.loop, completion: completion)
        }
        do throws(GroupError) {
            completion(.success(try exchange.engine.groups.committed(groupId: group.groupId, topics: topics)))
        } catch {
            completion(.failure(error))
        }
    }

    /// Collects the groups' positions; confined to the connection's event loop.
    private final class Answers: @unchecked Sendable {
        // Unchecked: the coordinator completes on the exchange's loop.
        private let requested: [OffsetFetchRequest.Group]
        private var groups: [OffsetFetchResponse.Group]
        private var missing: Int
        private var positionsLeft = Limits.positionsPerReply
        private let exchange: Exchange

        init(_ requested: [OffsetFetchRequest.Group], _ exchange: Exchange) {
            self.requested = requested
            self.exchange = exchange
            groups = Array(repeating: OffsetFetchResponse.Group(), count: requested.count)
            missing = requested.count + 1
        }

        /// Whether the group's positions, as far as they are named, still fit; else it is refused before any work.
        func hasRoom(for group: OffsetFetchRequest.Group, at index: Int) -> Bool {
            let named = group.topics?.reduce(0) { $0 + $1.partitionIndexes.count } ?? 0
            if take(named) { return true }
            groups[index] = refusal(group, .invalidRequest)
            finish()
            return false
        }

        func put(_ result: Positions, at index: Int) {
            let group = requested[index]
            switch result {
            case .failure(let error):
                groups[index] = refusal(group, KafkaErrorCode(error))
            case .success(let topics):
                // All positions of the group: how many that is, is known only now.
                let found = group.topics == nil ? topics.reduce(0) { $0 + $1.positions.count } : 0
                groups[index] = take(found) ? answer(group.groupId, topics) : refusal(group, .invalidRequest)
            }
            finish()
        }

        private func take(_ count: Int) -> Bool {
            guard count <= positionsLeft else { return false }
            positionsLeft -= count
            return true
        }

        func allStarted() { finish() }

        private func finish() {
            missing -= 1
            if missing == 0 { exchange.reply(response(groups, requested, exchange)) }
        }
    }

    private static func answer(_ groupId: String, _ topics: [TopicPositions]) -> OffsetFetchResponse.Group {
        var group = OffsetFetchResponse.Group()
        group.groupId = groupId
        group.topics = topics.map { topic in
            var answer = OffsetFetchResponse.Topic()
            answer.name = topic.topic
            answer.partitions = topic.positions.map { position in
                var partition = OffsetFetchResponse.Partition()
                partition.partitionIndex = position.partition
                partition.committedOffset = position.offset?.offset ?? -1
                partition.committedLeaderEpoch = position.offset?.leaderEpoch ?? -1
                partition.metadata = position.offset?.metadata ?? ""
                if position.isUnstable {
                    partition.errorCode = .unstableOffsetCommit
                    partition.committedOffset = -1
                }
                return partition
            }
            return answer
        }
        return group
    }

    private static func refusal(
        _ group: OffsetFetchRequest.Group, _ code: KafkaErrorCode
    ) -> OffsetFetchResponse.Group {
        var refusal = OffsetFetchResponse.Group()
        refusal.groupId = group.groupId
        refusal.errorCode = code
        return refusal
    }

    /// The groups' answers in the version's layout. Version 1 has no error but that of each partition.
    private static func response(
        _ groups: [OffsetFetchResponse.Group], _ requested: [OffsetFetchRequest.Group], _ exchange: Exchange
    ) -> OffsetFetchResponse {
        var response = OffsetFetchResponse()
        guard exchange.version <= 7 else {
            response.groups = groups
            return response
        }
        response.topics = groups[0].topics
        response.errorCode = groups[0].errorCode
        if exchange.version == 1, response.errorCode != .none {
            response.topics = (requested[0].topics ?? []).map { failed($0, response.errorCode) }
        }
        return response
    }

    private static func failed(
        _ topic: OffsetFetchRequest.Topic, _ code: KafkaErrorCode
    ) -> OffsetFetchResponse.Topic {
        var answer = OffsetFetchResponse.Topic()
        answer.name = topic.name
        answer.partitions = topic.partitionIndexes.map { index in
            var partition = OffsetFetchResponse.Partition()
            partition.partitionIndex = index
            partition.committedOffset = -1
            partition.errorCode = code
            return partition
        }
        return answer
    }
}
