// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the requests that change topics, configurations, rules, passwords, quotas, groups and transactions of others.

import Engine
import KafkaWire
import Security

// MARK: - Topics

extension AuditTarget {
    static func topic(_ name: String, _ engine: Engine) -> AuditTarget {
        AuditTarget(resource: "topic", name: name) { engine.topicState(name) }
    }
}

extension CreateTopicsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        validateOnly ? [] : topics.map { .topic($0.name, exchange.engine) }
    }

    static func auditFailures(_ response: CreateTopicsResponse) -> [String: KafkaErrorCode] {
        failures(response.topics, \.name, \.errorCode)
    }
}

extension DeleteTopicsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        let names = exchange.version >= 6
            ? topics.compactMap { $0.name ?? exchange.engine.topics.topic(id: $0.topicId)?.name } : topicNames
        return names.map { .topic($0, exchange.engine) }
    }

    static func auditFailures(_ response: DeleteTopicsResponse) -> [String: KafkaErrorCode] {
        failures(response.topics, \.name, \.errorCode)
    }
}

extension CreatePartitionsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        validateOnly ? [] : topics.map { .topic($0.name, exchange.engine) }
    }

    static func auditFailures(_ response: CreatePartitionsResponse) -> [String: KafkaErrorCode] {
        failures(response.results, \.name, \.errorCode)
    }
}

extension DeleteRecordsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        topics.map { topic in
            let indexes = topic.partitions.map(\.partitionIndex)
            return AuditTarget(resource: "records", name: topic.name) { [engine = exchange.engine] in
                guard let found = engine.topics.topic(named: topic.name) else { return nil }
                let starts = indexes.compactMap { index in
                    found.partition(index).map { ("start of \(index)", "\($0.offsets.start)") }
                }
                return Dictionary(starts) { first, _ in first }
            }
        }
    }

    static func auditFailures(_ response: DeleteRecordsResponse) -> [String: KafkaErrorCode] {
        failures(response.topics, \.name) { $0.partitions.first { $0.errorCode != .none }?.errorCode ?? .none }
    }
}

// MARK: - Configurations

extension AuditTarget {
    fileprivate static func configuration(_ type: Int8, _ name: String, _ engine: Engine) -> AuditTarget {
        guard type != ConfigResourceType.topic else { return .topic(name, engine) }
        let kind = ConfigurationResource.Kind(rawValue: UInt8(bitPattern: type))
        return AuditTarget(resource: kind.map { "\($0)" } ?? "type \(type)", name: name) {
            kind.map { engine.configurations.overrides(of: ConfigurationResource($0, name)) }
        }
    }
}

extension AlterConfigsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        validateOnly ? [] : resources.map { .configuration($0.resourceType, $0.resourceName, exchange.engine) }
    }

    static func auditFailures(_ response: AlterConfigsResponse) -> [String: KafkaErrorCode] {
        failures(response.responses, \.resourceName, \.errorCode)
    }
}

extension IncrementalAlterConfigsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        validateOnly ? [] : resources.map { .configuration($0.resourceType, $0.resourceName, exchange.engine) }
    }

    static func auditFailures(_ response: IncrementalAlterConfigsResponse) -> [String: KafkaErrorCode] {
        failures(response.resources, \.resourceName, \.errorCode)
    }
}

extension UpdateFeaturesRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        guard !validateOnly else { return [] }
        return featureUpdates.map { update in
            AuditTarget(resource: "feature", name: update.feature) { [engine = exchange.engine] in
                engine.features.current.finalized.first { $0.name == update.feature }.map { ["level": "\($0.level)"] }
            }
        }
    }

    static func auditFailures(_ response: UpdateFeaturesResponse) -> [String: KafkaErrorCode] {
        failures(response.results, \.feature, \.errorCode)
    }
}

// MARK: - Rules, passwords, quotas

extension AuditTarget {
    fileprivate static func rule(_ rule: AccessRule, _ engine: Engine) -> AuditTarget {
        AuditTarget(resource: "acl", name: "\(rule)") {
            engine.access.rules.all.contains(rule) ? ["rule": "\(rule)"] : nil
        }
    }
}

extension CreateAclsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        creations.compactMap { try? AccessRule($0) }.map { .rule($0, exchange.engine) }
    }

    /// What is no rule is no target; those that are fail together.
    static func auditFailures(_ response: CreateAclsResponse) -> [String: KafkaErrorCode] {
        response.results.contains { $0.errorCode == .none } ? [:] : all(response.results.map(\.errorCode))
    }
}

extension DeleteAclsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        // Filters are held against every rule: no more of them than are served.
        guard filters.count <= Limits.resourcesPerRequest else { return [] }
        let wanted = filters.compactMap { try? AccessRuleFilter($0) }
        return exchange.engine.access.rules.all.filter { rule in wanted.contains { $0.matches(rule) } }
            .sorted(by: AccessRule.precedes).map { .rule($0, exchange.engine) }
    }

    static func auditFailures(_ response: DeleteAclsResponse) -> [String: KafkaErrorCode] {
        all(response.filterResults.flatMap(\.matchingAcls).map(\.errorCode))
    }
}

extension AlterUserScramCredentialsRequest: AuditedRequest {
    /// Mechanisms and iterations; what is kept of the password is no part of it.
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        Set(deletions.map(\.name) + upsertions.map(\.name)).sorted().map { user in
            AuditTarget(resource: "user", name: user) { [engine = exchange.engine] in
                let known = engine.access.credentials(of: user)
                guard !known.isEmpty else { return nil }
                return Dictionary(uniqueKeysWithValues: known.map { ($0.key.mechanism.rawValue, "\($0.value) iterations") })
            }
        }
    }

    static func auditFailures(_ response: AlterUserScramCredentialsResponse) -> [String: KafkaErrorCode] {
        failures(response.results, \.user, \.errorCode)
    }
}

extension AlterClientQuotasRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        guard !validateOnly else { return [] }
        let entities = entries.compactMap { entry in
            try? QuotaEntity(parts: entry.entity.map { ($0.entityType, $0.entityName) })
        }
        return entities.map { entity in
            AuditTarget(resource: "quota", name: "\(entity)") { [engine = exchange.engine] in
                engine.quotas.table.quotas[entity].map { limits in
                    Dictionary(uniqueKeysWithValues: limits.map { ($0.key.rawValue, "\($0.value)") })
                }
            }
        }
    }

    static func auditFailures(_ response: AlterClientQuotasResponse) -> [String: KafkaErrorCode] {
        failures(response.entries, { answer in
            (try? QuotaEntity(parts: answer.entity.map { ($0.entityType, $0.entityName) })).map { "\($0)" }
        }, \.errorCode)
    }
}

// MARK: - Groups

extension AuditTarget {
    /// A group's offsets of these partitions.
    fileprivate static func offsets(
        _ group: String, _ partitions: [(topic: String, index: Int32)], _ engine: Engine
    ) -> AuditTarget {
        AuditTarget(resource: "offsets", name: group) { engine.offsetsState(group, partitions) }
    }
}

extension DeleteGroupsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        groupsNames.map { group in
            AuditTarget(resource: "group", name: group) { [engine = exchange.engine] in
                if let share = engine.shares.describe(group) { return ["type": "share", "state": "\(share.state)"] }
                guard engine.groups.hasGroup(group) else { return nil }
                return ["type": "group"]
            }
        }
    }

    static func auditFailures(_ response: DeleteGroupsResponse) -> [String: KafkaErrorCode] {
        failures(response.results, \.groupId, \.errorCode)
    }
}

extension OffsetDeleteRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        let partitions = topics.flatMap { topic in topic.partitions.map { (topic.name, $0.partitionIndex) } }
        return [.offsets(groupId, partitions, exchange.engine)]
    }

    static func auditFailures(_ response: OffsetDeleteResponse) -> [String: KafkaErrorCode] {
        all([response.errorCode] + response.topics.flatMap(\.partitions).map(\.errorCode))
    }
}

extension OffsetCommitRequest: AuditedRequest {
    /// Only commits from outside of the group: those of its members are what groups do all day.
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        guard memberId.isEmpty, generationIdOrMemberEpoch < 0 else { return [] }
        let partitions = topics.flatMap { topic in topic.partitions.map { (topic.name, $0.partitionIndex) } }
        return [.offsets(groupId, partitions, exchange.engine)]
    }

    static func auditFailures(_ response: OffsetCommitResponse) -> [String: KafkaErrorCode] {
        all(response.topics.flatMap(\.partitions).map(\.errorCode))
    }
}

extension AuditTarget {
    fileprivate static func shareOffsets(_ group: String, _ topics: [String], _ engine: Engine) -> AuditTarget {
        AuditTarget(resource: "share offsets", name: group) {
            var state: [String: String] = [:]
            for topic in topics {
                for offset in engine.shares.offsets(group, topic: topic, partitions: nil) {
                    state["\(topic)-\(offset.partition)"] = "\(offset.startOffset)"
                }
            }
            return state.isEmpty ? nil : state
        }
    }
}

extension AlterShareGroupOffsetsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        [.shareOffsets(groupId, Set(topics.map(\.topicName)).sorted(), exchange.engine)]
    }

    static func auditFailures(_ response: AlterShareGroupOffsetsResponse) -> [String: KafkaErrorCode] {
        all([response.errorCode] + response.responses.flatMap(\.partitions).map(\.errorCode))
    }
}

extension DeleteShareGroupOffsetsRequest: AuditedRequest {
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        [.shareOffsets(groupId, Set(topics.map(\.topicName)).sorted(), exchange.engine)]
    }

    static func auditFailures(_ response: DeleteShareGroupOffsetsResponse) -> [String: KafkaErrorCode] {
        all([response.errorCode] + response.responses.map(\.errorCode))
    }
}

// MARK: - Transactions

extension WriteTxnMarkersRequest: AuditedRequest {
    /// What ends somebody's transaction from outside shows in what readers of committed records may read.
    func auditTargets(_ exchange: Exchange) -> [AuditTarget] {
        markers.flatMap(\.topics).map { topic in
            AuditTarget(resource: "transactions", name: topic.name) { [engine = exchange.engine] in
                guard let found = engine.topics.topic(named: topic.name) else { return nil }
                let ends = topic.partitionIndexes.compactMap { index in
                    (try? found.partition(index)?.lastStableOffset()).map { ("committed up to, in \(index)", "\($0)") }
                }
                return Dictionary(ends) { first, _ in first }
            }
        }
    }

    static func auditFailures(_ response: WriteTxnMarkersResponse) -> [String: KafkaErrorCode] {
        failures(response.markers.flatMap(\.topics), \.name) { $0.partitions.first { $0.errorCode != .none }?.errorCode ?? .none }
    }
}
