// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the table of settings.
//
// The one place that says what can be set. The command line, the variables, the YAML file, `--help` and
// docs/configuration.md all follow from it. Settings that Kafka has too carry Kafka's name and default.

/// All settings, in the order in which they are documented.
package enum Settings {
    package static let all: [Setting] = [
        .addresses(
            "listen", "Addresses to listen on; each tells Kafka, gRPC, HTTP and TLS apart. A name lets it have rules of its own.",
            \.listen),
        .number("port", "0-65535", "Port of the first listener, instead of the one in listen. 0 takes a free one.",
            \.port, in: 0...65_535),
        .address("advertise", "Address that clients are told; otherwise the one that each of them used.", \.advertise),
        .text("data", "directory", "Where topics are kept.", \.dataDirectory),
        .text("certs", "directory", "Where the broker's own authority and certificates are; made when missing.",
            \.certificateDirectory),
        .text("tls.cert", "file", "The broker's certificate chain (PEM), instead of one in certs.",
            \.tls.certificate),
        .text("tls.key", "file", "The key of tls.cert (PEM).", \.tls.key),
        .text("tls.ca", "file", "Authorities of client certificates (PEM).", \.tls.authority),
        .choice("tls.min.version", "The oldest version of TLS that is spoken.", \.tlsVersion),
        .choice("tls.client.auth", "Whether TLS clients must show a certificate.", \.clientAuthentication),
        .text("ssl.crl.location", "file", "Revocation lists of tls.ca (PEM); without one, nothing is revoked.",
            \.tls.revocationLists),
        .choices("ssl.principal.source", "Which name of a client's certificate is its principal: the first it has.",
            \.principalSources),
        .principalRules("ssl.principal.mapping.rules",
            "What is made of that name: RULE:pattern/replacement/[LU] or DEFAULT; the first that matches.",
            \.principalRules),
        .choice("plaintext", "From where connections without TLS are accepted.", \.plaintext),
        .choices("sasl.enabled.mechanisms",
            "How clients log in; not at all if empty. PLAIN, OAUTHBEARER need TLS or this machine.",
            \.saslMechanisms),
        .choice(
            "sasl.required",
            "Where they can log in, who has to: all; who has no certificate; auto: all if tls.client.auth is required.",
            \.saslRequired),
        .fileURL("sasl.oauthbearer.jwks.endpoint.url", "The keys that tokens are signed for (OAUTHBEARER): a JWKS file.",
            \.tokens.keyFile),
        .names("sasl.oauthbearer.expected.audience", "Tokens must be for one of these; empty: for anybody.",
            \.tokens.audiences),
        .text("sasl.oauthbearer.expected.issuer", "name", "Who must have issued a token; empty: whoever has the key.",
            \.tokens.issuer),
        .number("sasl.oauthbearer.clock.skew.seconds", "s", "By how much the clocks of a token's issuer may differ.",
            \.tokens.clockSkewSeconds, in: 0...3_600),
        .text("sasl.oauthbearer.scope.claim.name", "name", "The claim of a token that has its scopes.",
            \.tokens.scopeClaim),
        .text("sasl.oauthbearer.sub.claim.name", "name", "The claim of a token that is the principal's name.",
            \.tokens.subjectClaim),
        .number("connections.max.reauth.ms", "ms", "After how long a client that logged in has to again; 0 is never.",
            \.maxReauthenticationMs, in: 0...Int64(Int32.max)),
        .texts("super.users", "User:name;…", "Principals that may do everything.", \.superUsers),
        .toggle("allow.everyone.if.no.acl.found",
            "Once there are access rules: whether what no rule speaks of is free to all.", \.allowsEveryoneWithoutRule),
        .choice("durability", "What an acks=all acknowledgement means: on disk, with the operating system, in memory.",
            \.durability),
        .toggle("ephemeral", "Keep everything in memory and leave nothing behind.", \.isEphemeral),
        .toggle("auto.create.topics.enable", "Create a topic when a client first asks for it.", \.createsTopics),
        .number("num.partitions", "1-10000", "Partitions of a topic created without a number.",
            \.topicDefaults.partitions, in: 1...10_000),
        .number("log.retention.ms", "ms", "How long records are kept; -1 for ever. Per topic: retention.ms.",
            \.topicDefaults.retentionMs, in: -1...Int64.max),
        .number("log.retention.bytes", "bytes", "How much of a partition is kept; -1 all. Per topic: retention.bytes.",
            \.topicDefaults.retentionBytes, in: -1...Int64.max),
        .number("log.segment.bytes", "bytes", "Size at which a new segment file is begun. Per topic: segment.bytes.",
            \.topicDefaults.segmentBytes, in: 14...Int64(Int32.max)),
        .number("log.roll.ms", "ms", "Age at which a new segment file is begun. Per topic: segment.ms.",
            \.topicDefaults.segmentMs, in: 1...Int64.max),
        .number("log.retention.check.interval.ms", "ms", "How often retention is applied.",
            \.retentionCheckIntervalMs, in: 1...Int64(Int32.max)),
        .number("log.cleaner.backoff.ms", "ms", "How long compaction waits when there is nothing to compact.",
            \.cleanerBackoffMs, in: 1...Int64(Int32.max)),
        .number("message.max.bytes", "bytes", "Largest record batch. Per topic: max.message.bytes.",
            \.topicDefaults.messageBytesMax, in: 0...Int(Int32.max) / 2),
        .number("group.initial.rebalance.delay.ms", "ms", "How long a new group waits for more members.",
            \.groupInitialRebalanceDelayMs, in: 0...Int64(Int32.max)),
        .number("group.min.session.timeout.ms", "ms", "Shortest session timeout a group member may ask for.",
            \.groupMinSessionTimeoutMs, in: 1...Int32.max),
        .number("group.max.session.timeout.ms", "ms", "Longest session timeout a group member may ask for.",
            \.groupMaxSessionTimeoutMs, in: 1...Int32.max),
        .origins("cors.allowed.origins", "Web pages that may use the broker, as scheme://host:port; * is all of them.",
            \.corsAllowedOrigins),
        .number("transaction.max.timeout.ms", "ms", "Longest transaction timeout a producer may ask for.",
            \.transactions.maxTimeoutMs, in: 1...Int32.max),
        .number("transaction.abort.timed.out.transaction.cleanup.interval.ms", "ms",
            "How often transactions that take too long are aborted, and markers that failed tried again.",
            \.transactions.cleanUpIntervalMs, in: 1...Int64(Int32.max)),
        .number("transactional.id.expiration.ms", "ms", "How long an unused transactional id is remembered.",
            \.transactions.idExpirationMs, in: 1...Int64(Int32.max)),
        .number("producer.id.expiration.ms", "ms", "How long an idle producer is remembered, to know its duplicates.",
            \.transactions.producerIdExpirationMs, in: 1...Int64(Int32.max)),
        .number("producer.id.expiration.check.interval.ms", "ms", "How often idle producers are looked for.",
            \.transactions.producerIdExpirationCheckMs, in: 1...Int64(Int32.max)),
        .number("group.max.size", "count", "Most members of a classic group.", \.groupMaxSize, in: 1...Int(Int32.max)),
        .number("group.consumer.session.timeout.ms", "ms", "How long a member of a consumer group may be silent.",
            \.groupConsumerSessionTimeoutMs, in: 1...Int32.max),
        .number("group.consumer.min.session.timeout.ms", "ms", "Shortest session timeout of a consumer group.",
            \.groupConsumerMinSessionTimeoutMs, in: 1...60_000),
        .number("group.consumer.heartbeat.interval.ms", "ms", "How often a member of a consumer group is to be heard of.",
            \.groupConsumerHeartbeatIntervalMs, in: 1...Int32.max),
        .number("group.consumer.min.heartbeat.interval.ms", "ms", "Shortest heartbeat interval of a consumer group.",
            \.groupConsumerMinHeartbeatIntervalMs, in: 1...15_000),
        .number("group.consumer.max.size", "count", "Most members of a consumer group.",
            \.groupConsumerMaxSize, in: 1...Int(Int32.max)),
        .number("group.share.delivery.count.limit", "2-10", "How often a share group's record, or a worker's job, is delivered at most.",
            \.shareGroups.deliveryCountLimit, in: 2...10),
        .number("group.share.record.lock.duration.ms", "ms", "How long a record is locked for the share consumer that has it.",
            \.shareGroups.recordLockDurationMs, in: 1000...3_600_000),
        .number("group.share.min.record.lock.duration.ms", "ms", "Shortest lock that a share group may be configured to.",
            \.shareGroups.minRecordLockDurationMs, in: 1000...30_000),
        .number("group.share.max.record.lock.duration.ms", "ms", "Longest lock that a share group or a worker may ask for.",
            \.shareGroups.maxRecordLockDurationMs, in: 30_000...3_600_000),
        .number("group.share.partition.max.record.locks", "100-10000", "Records of a partition that a share group has in flight at most.",
            \.shareGroups.partitionMaxRecordLocks, in: 100...10_000),
        .number("group.share.session.timeout.ms", "ms", "How long a member of a share group may be silent.",
            \.shareGroups.sessionTimeoutMs, in: 1...Int64(Int32.max)),
        .number("group.share.heartbeat.interval.ms", "ms", "How often a member of a share group is to be heard of.",
            \.shareGroups.heartbeatIntervalMs, in: 1...Int32.max),
        .number("group.share.max.size", "count", "Most members of a share group, workers included.",
            \.shareGroups.maxSize, in: 1...1000),
        .number("group.share.max.groups", "count", "Most share groups at a time.", \.shareGroups.maxGroups, in: 1...10_000),
        .number("group.share.max.share.sessions", "count", "Most share sessions, one for each share consumer's connection.",
            \.shareGroups.maxShareSessions, in: 1...Int(Int32.max)),
        .number("threads", "0-256", "Event loop threads; 0 is one for each processor.", \.threads, in: 0...256),
        .number("max.connections", "count", "Connections open at once; more are refused.",
            \.maxConnections, in: 1...1_000_000),
        .number("quota.window.num", "count", "Windows of time over which the rates of client quotas are taken.",
            \.quotaWindows, in: 2...1000),
        .number("quota.window.size.seconds", "s", "How long each of them is.", \.quotaWindowSeconds, in: 1...3600),
        .number("max.connections.per.ip", "count", "Connections open at once from one address; more are refused.",
            \.maxConnectionsPerAddress, in: 0...Int(Int32.max)),
        .counts("max.connections.per.ip.overrides", "The same for some addresses.", \.maxConnectionsByAddress),
        .number("max.connection.creation.rate", "count",
            "Connections that each listener accepts a second; those that come faster wait.",
            \.maxConnectionCreationRate, in: 1...Int(Int32.max)),
        .number("queued.max.request.bytes", "bytes", "Unfinished requests of all connections; beyond it some wait.",
            \.queuedRequestBytesMax, in: 65_536...Int(Int64.max / 4)),
        .number("max.open.files", "count", "Log files kept open at once; 0 is a share of what `ulimit -n` allows.",
            \.maxOpenFiles, in: 0...1_000_000),
        .text("audit.log", "file|stdout|off", "Where logins, denials and changes are written, as JSON lines (docs/audit.md).",
            \.auditLog),
        .text("audit.topic", "topic", "A topic that gets the same events.", \.auditTopic),
        .choice("audit.allowed", "Whether what access rules allow is written too: none of it, or all.", \.auditAllowed),
        .choice("log.level", "The least severe messages that are logged.", \.logLevel),
        .choice("log.format", "How log lines look.", \.logFormat),
        .text("ready.file", "file", "A JSON file that is there exactly while the broker answers.", \.readyFile),
    ]

    /// For the development of the broker itself; in no help text and no reference (docs/reliability.md tells).
    package static let hidden: [Setting] = [
        .number("x.disk.delay.ms", "ms", "How much longer every sync of a file takes.", \.diskDelayMs, in: 0...60_000)
    ]

    /// What SIGHUP puts in force; everything else needs a restart.
    package static let reloadable: Set<String> = [
        "log.level", "log.retention.ms", "log.retention.bytes", "log.segment.bytes", "log.roll.ms", "message.max.bytes",
        "super.users", "cors.allowed.origins",
    ]

    package static func named(_ key: String) -> Setting? {
        (all + hidden).first { $0.key == key } ?? ListenerSettings.named(key)
    }

    static func flagged(_ flag: String) -> Setting? {
        (all + hidden).first { $0.flag == flag } ?? ListenerSettings.flagged(flag)
    }

    static func variable(_ name: String) -> Setting? {
        (all + hidden).first { $0.variable == name } ?? ListenerSettings.variable(name)
    }
}
