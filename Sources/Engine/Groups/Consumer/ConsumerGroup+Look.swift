// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a consumer group says about its committed offsets and about itself, and what it is told of
// topics.

import Bytes

extension ConsumerGroup {
    // MARK: Offsets

    /// Whether this commit may be made.
    func validateCommit(_ commit: OffsetCommit) throws(GroupError) {
        // An administrator, or a client that does not use group membership.
        if commit.generationId < 0 && members.isEmpty { return }
        guard let member = members[commit.member.memberId] else { throw .unknownMemberId }
        if member.isClassic {
            if member.epoch != commit.generationId { throw .illegalGeneration }
        } else if commit.isTransactional {
            if member.epoch != commit.generationId { throw .illegalGeneration }
        } else {
            guard commit.knowsMemberEpochs else { throw .unsupportedVersion }
            if member.epoch != commit.generationId { throw .staleMemberEpoch }
        }
    }

    /// Whether this member may read; nobody in particular may.
    func validateFetch(_ memberId: String?, epoch: Int32) throws(GroupError) {
        if memberId == nil && epoch < 0 { return }
        guard let member = memberId.flatMap({ members[$0] }) else { throw .unknownMemberId }
        if member.epoch != epoch { throw member.isClassic ? .illegalGeneration : .staleMemberEpoch }
    }

    // MARK: Topics

    /// A topic is new, has grown or is gone: patterns follow at once, the epoch with the next heartbeat.
    mutating func topicChanged(_ change: TopicChange, version: Int64, wallMs: Int64) {
        let name: String
        switch change {
        case .present(let topic):
            name = topic.name
            for (text, resolved) in patterns where !resolved.topics.contains(name) && resolved.covers(name) {
                updatePattern(text, version, wallMs) { $0.insert(name) }
            }
        case .deleted(let gone, _):
            name = gone
            for (text, resolved) in patterns where resolved.topics.contains(name) {
                updatePattern(text, version, wallMs) { $0.remove(name) }
            }
        }
        if topics[name] != nil || subscribedNames.contains(name) { mustRefresh = true }
    }

    /// Matches all patterns against all topics: what was known of them may be old.
    mutating func resolvePatterns(_ all: GroupTopics, wallMs: Int64) {
        for text in Set(members.values.compactMap(\.pattern)).sorted() {
            guard let pattern = patterns[text]?.pattern ?? (try? TopicPattern(text)) else { continue }
            let found = Set(all.byName.keys.filter(pattern.matches))
            if patterns[text]?.topics == found { continue }
            patterns[text] = Resolved(
                pattern: pattern, topics: found, version: all.version, timestampMs: wallMs)
            changes.insert(.pattern(text))
        }
    }

    /// Matches a pattern with a member's rights as they are now, if that was not done since the start, or not for long.
    mutating func lookAgain(at text: String, _ rights: @escaping TopicRights, _ all: GroupTopics, nowMs: Int64) {
        guard var resolved = patterns[text] else { return }
        if resolved.mayDescribe != nil, nowMs - resolved.resolvedMs < configuration.patternRefreshMs { return }
        resolved.mayDescribe = rights
        resolved.resolvedMs = nowMs
        let found = Set(all.byName.keys.filter(resolved.covers))
        if found != resolved.topics {
            resolved.topics = found
            resolved.version = all.version
            changes.insert(.pattern(text))
            mustRefresh = true
        }
        patterns[text] = resolved
    }

    private mutating func updatePattern(
        _ text: String, _ version: Int64, _ wallMs: Int64, _ edit: (inout Set<String>) -> Void
    ) {
        guard var resolved = patterns[text] else { return }
        edit(&resolved.topics)
        resolved.version = version
        resolved.timestampMs = wallMs
        patterns[text] = resolved
        changes.insert(.pattern(text))
    }

    // MARK: Look

    var listing: GroupListing {
        GroupListing(
            groupId: id, protocolType: ConsumerSubscription.protocolType, state: state.rawValue, type: .consumer)
    }

    func description(_ all: GroupTopics) -> ConsumerGroupDescription {
        ConsumerGroupDescription(
            groupId: id, state: state.rawValue, groupEpoch: groupEpoch, assignmentEpoch: assignmentEpoch,
            assignor: assignor.rawValue,
            members: membersById.map { member in
                ConsumerGroupDescription.Member(
                    memberId: member.id, instanceId: member.instanceId, rackId: member.rackId,
                    memberEpoch: member.epoch, clientId: member.clientId, clientHost: member.clientHost,
                    subscribedTopics: member.subscribedTopics, subscribedPattern: member.pattern,
                    assigned: Self.named(member.assigned, all),
                    target: Self.named(targets[member.id] ?? TopicAssignment(), all), isClassic: member.isClassic)
            })
    }

    private static func named(
        _ assignment: TopicAssignment, _ all: GroupTopics
    ) -> [ConsumerGroupDescription.Partitions] {
        assignment.list.compactMap { each in
            all.name(of: each.topicId).map {
                ConsumerGroupDescription.Partitions(topicId: each.topicId, topic: $0, partitions: each.partitions)
            }
        }
    }
}

/// An entry of ConsumerGroupDescribe.
package struct ConsumerGroupDescription: Equatable, Sendable {
    package struct Partitions: Equatable, Sendable {
        package var topicId: TopicId
        package var topic: String
        package var partitions: [Int32]
    }

    package struct Member: Equatable, Sendable {
        package var memberId: String
        package var instanceId: String?
        package var rackId: String?
        package var memberEpoch: Int32
        package var clientId: String
        package var clientHost: String
        package var subscribedTopics: [String]
        package var subscribedPattern: String?
        package var assigned: [Partitions]
        package var target: [Partitions]
        package var isClassic: Bool
    }

    package var groupId: String
    package var state: String
    package var groupEpoch: Int32
    package var assignmentEpoch: Int32
    package var assignor: String
    /// By member id.
    package var members: [Member]
}
