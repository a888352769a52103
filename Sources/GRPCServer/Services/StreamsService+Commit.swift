// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: Streams.Commit and Streams.Committed.
//
// Behaviour: a commit is one of a member, with its epoch, or of a simple consumer, and is refused then while the group has
// members. It is answered when it is durable. What is committed over Kafka is seen here, and the other way round.

import Contract
import Engine
import GRPCWire
import SwiftProtobuf

extension StreamsService {
    func commit(_ request: Martlet_V1_CommitRequest, _ call: GRPCCall) throws(GRPCStatus) {
        guard !request.group.isEmpty else { throw .invalid("group", "group is empty; name a consumer group") }
        call.authorize { () throws(GRPCStatus) in
            try call.require(.read, .group, request.group)
            for topic in Set(request.offsets.map(\.topic)).sorted() { try call.require(.read, .topic, topic) }
        } then: { () throws(GRPCStatus) in
            try commitAllowed(request, call)
        }
    }

    private func commitAllowed(_ request: Martlet_V1_CommitRequest, _ call: GRPCCall) throws(GRPCStatus) {
        guard (1...Limits.partitionsPerRequest).contains(request.offsets.count) else {
            throw .invalid(
                "offsets",
                "offsets has \(request.offsets.count) entries; 1 to \(Limits.partitionsPerRequest) are allowed"
            ).about("group", request.group)
        }
        var positions: [OffsetCommit.Position] = []
        positions.reserveCapacity(request.offsets.count)
        for entry in request.offsets { positions.append(try position(entry)) }
        var commit = OffsetCommit(groupId: request.group, positions: positions)
        if !request.memberID.isEmpty {
            commit.member = GroupMemberIdentity(memberId: request.memberID)
            commit.generationId = request.memberEpoch
        }
        // As over Kafka: what members of the group commit is what groups do all day.
        let places = request.offsets.map { (topic: $0.topic, index: $0.partition) }
        let audit = request.memberID.isEmpty
            ? call.auditing("Commit", "offsets", request.group) { engine.offsetsState(request.group, places) }
            : { @Sendable _ in }
        engine.groups.commit(commit, on: call.loop) { result in
            switch result {
            case .failure(let error):
                audit(error)
                call.fail(Self.status(error, request.group))
            case .success(let results):
                let refused = results.lazy.compactMap({ $0 }).first
                audit(refused)
                if let refused { return call.fail(Self.status(refused, request.group)) }
                call.respond(Martlet_V1_CommitResponse())
            }
        }
    }

    private static func status(_ error: GroupError, _ group: String) -> GRPCStatus {
        let status = GRPCStatus(error).about("group", group)
        return switch error {
        case .invalidGroupId: status.at("group")
        case .offsetMetadataTooLarge, .invalidCommitOffsetSize: status.at("offsets")
        default: status
        }
    }

    private func position(_ entry: Martlet_V1_PartitionOffset) throws(GRPCStatus) -> OffsetCommit.Position {
        _ = try partition(entry.topic, entry.partition)
        guard entry.offset >= 0 else {
            throw .invalid(
                "offsets", "the offset \(entry.offset) of \(entry.topic)-\(entry.partition) is negative; the next offset to read is 0 or above"
            ).about("topic", entry.topic).about("partition", "\(entry.partition)")
        }
        guard entry.metadata.utf8.count <= Limits.commitMetadataBytes else {
            throw .invalid(
                "offsets", "the metadata of \(entry.topic)-\(entry.partition) is longer than \(Limits.commitMetadataBytes) bytes"
            ).about("topic", entry.topic).about("partition", "\(entry.partition)")
        }
        return OffsetCommit.Position(
            topic: entry.topic, partition: entry.partition, offset: entry.offset, metadata: entry.metadata)
    }

    func committed(_ request: Martlet_V1_CommittedRequest, _ call: GRPCCall) throws(GRPCStatus) {
        guard !request.group.isEmpty else { throw .invalid("group", "group is empty; name a consumer group") }
        call.authorize({ () throws(GRPCStatus) in try call.require(.describe, .group, request.group) }) {
            engine.groups.stableCommitted(groupId: request.group, topics: nil, on: call.loop) { result in
                switch result {
                case .failure(let error): call.fail(Self.status(error, request.group))
                case .success(let topics): tell(topics, request, call)
                }
            }
        }
    }

    private func tell(_ topics: [TopicPositions], _ request: Martlet_V1_CommittedRequest, _ call: GRPCCall) {
        let wanted = request.topics.isEmpty ? nil : Set(request.topics)
        call.authorize({
            topics.filter { wanted?.contains($0.topic) ?? true && call.maySee(.describe, .topic, $0.topic) }
        }) { allowed in
            call.respond(Martlet_V1_CommittedResponse.with { $0.offsets = allowed.flatMap(Self.offsets) })
        }
    }

    private static func offsets(_ topic: TopicPositions) -> [Martlet_V1_PartitionOffset] {
        topic.positions.compactMap { position in
            guard let committed = position.offset else { return nil }
            return .with {
                $0.topic = topic.topic
                $0.partition = position.partition
                $0.offset = committed.offset
                $0.metadata = committed.metadata
            }
        }
    }
}
