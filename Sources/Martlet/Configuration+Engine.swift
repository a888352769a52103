// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what the user's words mean to the engine.

import Engine
import NIOCore
import Security

extension Configuration {
    var engine: EngineConfiguration {
        var engine = EngineConfiguration()
        engine.durability =
            switch effectiveDurability {
            case .disk: .disk
            case .os: .os
            case .memory: .memory
            }
        engine.autoCreateTopics = createsTopics
        engine.defaultPartitions = Int32(clamping: topicDefaults.partitions)
        engine.topicDefaults = topicDefaults.overrides
        engine.groups.initialRebalanceDelayMs = groupInitialRebalanceDelayMs
        engine.groups.minSessionTimeoutMs = groupMinSessionTimeoutMs
        engine.groups.maxSessionTimeoutMs = groupMaxSessionTimeoutMs
        engine.transactions.maxTimeoutMs = transactions.maxTimeoutMs
        engine.transactions.cleanUpIntervalMs = transactions.cleanUpIntervalMs
        engine.transactions.idExpirationMs = transactions.idExpirationMs
        engine.producerIdExpirationMs = transactions.producerIdExpirationMs
        engine.housekeeping.producerIdExpirationCheckMs = transactions.producerIdExpirationCheckMs
        engine.groups.membersMax = groupMaxSize
        engine.groups.consumerSessionTimeoutMs = groupConsumerSessionTimeoutMs
        engine.groups.consumerHeartbeatIntervalMs = groupConsumerHeartbeatIntervalMs
        engine.groups.consumerMembersMax = groupConsumerMaxSize
        engine.groups.consumerSessionTimeouts =
            groupConsumerMinSessionTimeoutMs...max(60_000, groupConsumerSessionTimeoutMs)
        engine.groups.consumerHeartbeatIntervals =
            groupConsumerMinHeartbeatIntervalMs...max(15_000, groupConsumerHeartbeatIntervalMs)
        engine.shares = shareGroups.engine
        engine.housekeeping.retentionCheckMs = retentionCheckIntervalMs
        engine.access.superUsers = Set(superUsers)
        engine.access.allowsEveryoneWithoutRule = allowsEveryoneWithoutRule
        engine.quotaWindows.count = quotaWindows
        engine.quotaWindows.windowMs = quotaWindowSeconds * 1000
        engine.access.tokens = tokens.rules
        engine.access.policy.allowedMs = policy.allowedMs
        engine.access.policy.deniedMs = policy.deniedMs
        engine.access.policy.entriesMax = policy.cacheEntries
        engine.logDirectory = isEphemeral ? "" : absolute(dataDirectory)
        engine.otherSettings = [
            "listeners": listeners.map { "\($0.name?.uppercased() ?? "PLAINTEXT")://\($0)" }.joined(separator: ","),
            "connections.max.idle.ms": "\(maxIdleMs)",
            "max.connections": "\(maxConnections)",
            "max.connections.per.ip": "\(maxConnectionsPerAddress)",
            "max.connections.per.ip.overrides": Setting.text(maxConnectionsByAddress),
            "max.connection.creation.rate": "\(maxConnectionCreationRate)",
            "quota.window.num": "\(quotaWindows)",
            "quota.window.size.seconds": "\(quotaWindowSeconds)",
            "num.network.threads": "\(threads == 0 ? System.coreCount : threads)",
            "queued.max.request.bytes": "\(queuedRequestBytesMax)",
            "ssl.client.auth": clientAuthentication.rawValue,
            "super.users": superUsers.joined(separator: ";"),
            "allow.everyone.if.no.acl.found": "\(allowsEveryoneWithoutRule)",
            "ssl.principal.mapping.rules": principalRules,
            "ssl.principal.source": principalSources.map(\.rawValue).joined(separator: ","),
        ]
        if let url = policy.url { engine.otherSettings["authorizer.opa.url"] = url }
        engine.housekeeping.compactionBackoffMs = cleanerBackoffMs
        return engine
    }
}

extension Configuration.ShareGroups {
    fileprivate var engine: ShareConfiguration {
        var shares = ShareConfiguration()
        shares.deliveryCountLimit = Int16(clamping: deliveryCountLimit)
        shares.recordLockDurationMs = recordLockDurationMs
        shares.minRecordLockDurationMs = minRecordLockDurationMs
        shares.maxRecordLockDurationMs = maxRecordLockDurationMs
        shares.partitionMaxRecordLocks = partitionMaxRecordLocks
        shares.sessionTimeoutMs = sessionTimeoutMs
        shares.heartbeatIntervalMs = heartbeatIntervalMs
        shares.membersMax = maxSize
        shares.groupsMax = maxGroups
        shares.shareSessionsMax = maxShareSessions
        return shares
    }
}

extension Configuration.Tokens {
    var rules: TokenRules {
        var rules = TokenRules()
        rules.audiences = audiences
        rules.issuer = issuer
        rules.clockSkewSeconds = clockSkewSeconds
        rules.scopeClaim = scopeClaim
        rules.subjectClaim = subjectClaim
        return rules
    }
}

extension Configuration.TopicDefaults {
    /// What differs from Kafka's own defaults, under Kafka's topic-level names.
    var overrides: [String: String] {
        let kafka = Configuration.TopicDefaults()
        var overrides: [String: String] = [:]
        func set<Value: Equatable & CustomStringConvertible>(_ name: String, _ value: Value, _ usual: Value) {
            if value != usual { overrides[name] = value.description }
        }
        set("retention.ms", retentionMs, kafka.retentionMs)
        set("retention.bytes", retentionBytes, kafka.retentionBytes)
        set("segment.bytes", segmentBytes, kafka.segmentBytes)
        set("segment.ms", segmentMs, kafka.segmentMs)
        set("max.message.bytes", messageBytesMax, kafka.messageBytesMax)
        return overrides
    }
}
