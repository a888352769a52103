// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: everything about a broker that can be chosen.
//
// A plain value. Start from `development`, `production` or `fixture` and change what differs; or let `ConfigurationLoader`
// fill it from flags, variables and a file. The names and meanings for users are in `Settings`, the one table; a
// property without a row there cannot be set from outside the process.

import Logging
import Telemetry

/// What a broker is started with.
public struct Configuration: Equatable, Sendable {
    /// What an acknowledgement with `acks=all` promises.
    public enum Durability: String, Sendable, CaseIterable {
        /// The record is on stable storage and survives a power cut.
        case disk
        /// The record is with the operating system and survives the end of the broker, not a power cut.
        case os
        /// The record is in this process and survives nothing.
        case memory
    }

    /// Whether clients must show a certificate.
    public enum ClientAuthentication: String, Sendable, CaseIterable {
        case required, requested, none
    }

    /// Where clients can log in by SASL: who has to.
    public enum SASLRequired: String, Sendable, CaseIterable {
        /// All where a certificate is required, and who has no certificate elsewhere.
        case auto
        /// All, whatever certificate they have.
        case always
        /// Who has no certificate.
        case withoutCertificate = "without-certificate"
    }

    /// What one listener has of its own; nil: as for all.
    public struct ListenerRules: Equatable, Sendable {
        public var plaintext: Plaintext?
        public var clientAuthentication: ClientAuthentication?
        /// Empty: no logins.
        public var saslMechanisms: [SASLMechanism]?
        public var saslRequired: SASLRequired?

        public init() {}
    }

    /// The oldest version of TLS that is spoken.
    public enum TLSVersion: String, Sendable, CaseIterable {
        case tls13 = "1.3"
        case tls12 = "1.2"
    }

    /// From where connections without TLS are accepted.
    public enum Plaintext: String, Sendable, CaseIterable {
        case never, loopback, anywhere
    }

    /// How a Kafka client may prove who it is, other than by a certificate.
    public enum SASLMechanism: String, Sendable, CaseIterable {
        case plain = "PLAIN"
        case scramSHA256 = "SCRAM-SHA-256"
        case scramSHA512 = "SCRAM-SHA-512"
        case oauthBearer = "OAUTHBEARER"
    }

    /// Which name of a client's certificate is its principal.
    public enum PrincipalSource: String, Sendable, CaseIterable {
        case subject, cn, spiffe, uri, dns, email
    }

    /// Certificate files of the broker, instead of those in the certificate directory.
    public struct TLSFiles: Equatable, Sendable {
        /// The broker's certificate and the chain up to its authority, PEM.
        public var certificate: String?
        /// The key of that certificate, PEM.
        public var key: String?
        /// The authorities whose client certificates are accepted, PEM.
        public var authority: String?
        /// What those authorities have revoked (CRLs), PEM.
        public var revocationLists: String?

        public init(certificate: String? = nil, key: String? = nil, authority: String? = nil) {
            self.certificate = certificate
            self.key = key
            self.authority = authority
        }
    }

    /// Which allowed accesses are audited; denied ones always are.
    public enum AuditAllowed: String, CaseIterable, Sendable {
        case none
        case all
    }

    /// What tokens must be like, with which clients log in (OAUTHBEARER, `authorization: Bearer`).
    public struct Tokens: Equatable, Sendable {
        /// A JSON Web Key Set: the keys of whoever issues the tokens.
        public var keyFile: String?
        /// Tokens must be for one of them; none: for anybody.
        public var audiences: [String] = []
        public var issuer: String?
        public var clockSkewSeconds: Int64 = 30
        public var scopeClaim = "scope"
        /// The claim that names the principal.
        public var subjectClaim = "sub"

        public init() {}
    }

    /// An external policy that decides about access, in Open Policy Agent's form.
    public struct Policy: Equatable, Sendable {
        /// Where it is asked; nil: there is none, access rules decide.
        public var url: String?
        /// The authorities that its certificate is checked against, PEM; nil: the machine's.
        public var authority: String?
        /// A file with a bearer token that it is shown; nil: none.
        public var tokenFile: String?
        public var timeoutMs: Int64 = 1_000
        /// Decisions that are remembered, and for how long each.
        public var cacheEntries = 10_000
        public var allowedMs: Int64 = 60_000
        public var deniedMs: Int64 = 10_000

        public init() {}
    }

    /// What a topic gets that is created without a value of its own.
    public struct TopicDefaults: Equatable, Sendable {
        public var partitions = 1
        /// -1 keeps records for ever.
        public var retentionMs: Int64 = 7 * 24 * 3600 * 1000
        /// Of one partition; -1 is no limit.
        public var retentionBytes: Int64 = -1
        public var segmentBytes: Int64 = 1 << 30
        public var segmentMs: Int64 = 7 * 24 * 3600 * 1000
        /// Largest record batch, as Kafka counts it.
        public var messageBytesMax = 1_048_588

        public init() {}
    }

    /// Transactions, and what is remembered of producers.
    public struct Transactions: Equatable, Sendable {
        /// The longest transaction timeout that a producer may ask for.
        public var maxTimeoutMs: Int32 = 900_000
        public var cleanUpIntervalMs: Int64 = 10_000
        /// How long a transactional id without a transaction is remembered.
        public var idExpirationMs: Int64 = 7 * 24 * 3600 * 1000
        public var producerIdExpirationMs: Int64 = 24 * 3600 * 1000
        public var producerIdExpirationCheckMs: Int64 = 600_000

        public init() {}
    }

    /// Share groups, and the queues of gRPC workers, where a group has nothing of its own.
    public struct ShareGroups: Equatable, Sendable {
        public var deliveryCountLimit = 5
        public var recordLockDurationMs: Int64 = 30_000
        public var minRecordLockDurationMs: Int64 = 15_000
        public var maxRecordLockDurationMs: Int64 = 60_000
        public var partitionMaxRecordLocks = 2_000
        public var sessionTimeoutMs: Int64 = 45_000
        public var heartbeatIntervalMs: Int32 = 5_000
        /// Members of one group.
        public var maxSize = 200
        public var maxGroups = 10_000
        public var maxShareSessions = 2_000

        public init() {}
    }

    /// Where to listen; the first address is the one that is reported.
    public var listen = [Address(host: "127.0.0.1")]
    /// Port of the first listener instead of the one in `listen`; 0 lets the system choose.
    public var port: Int?
    /// The address that clients are told, for brokers behind NAT; otherwise they are told the one they used.
    public var advertise: Address?
    public var dataDirectory = "data"
    /// Where the development authority and its certificates are, and are made when missing.
    public var certificateDirectory = "certs"
    public var tls = TLSFiles()
    public var tlsVersion = TLSVersion.tls13
    public var clientAuthentication = ClientAuthentication.required
    /// In order of preference: the first that a certificate has.
    public var principalSources = [PrincipalSource.subject]
    /// Kafka's rules, which make a principal of that name.
    public var principalRules = "DEFAULT"
    public var plaintext = Plaintext.loopback
    /// SASL mechanisms that clients may log in with.
    public var saslMechanisms: [SASLMechanism] = []
    public var saslRequired = SASLRequired.auto
    /// What listeners have of their own, by `Address.name`.
    public var listenerRules: [String: ListenerRules] = [:]
    public var tokens = Tokens()
    /// After how long a client that logged in has to do so again; 0: never.
    public var maxReauthenticationMs: Int64 = 0
    /// After how long a Kafka connection without requests is closed.
    public var maxIdleMs: Int64 = 600_000
    /// Principals that may do everything, such as `User:CN=admin`.
    public var superUsers: [String] = []
    /// Whether resources that no access rule speaks of are free to all, once there are rules.
    public var allowsEveryoneWithoutRule = false
    public var policy = Policy()
    public var durability = Durability.disk
    /// Keep everything in memory; nothing is left behind. Durability is `memory` then.
    public var isEphemeral = false
    public var createsTopics = false
    public var topicDefaults = TopicDefaults()
    public var retentionCheckIntervalMs: Int64 = 300_000
    public var cleanerBackoffMs: Int64 = 15_000
    public var groupInitialRebalanceDelayMs: Int64 = 3000
    public var groupMinSessionTimeoutMs: Int32 = 6000
    public var groupMaxSessionTimeoutMs: Int32 = 1_800_000
    /// Origins of web pages that may use the broker (CORS), lower case; `*` is all. None: only the broker's own.
    public var corsAllowedOrigins: [String] = []
    public var transactions = Transactions()
    public var groupMaxSize = 1000
    public var groupConsumerSessionTimeoutMs: Int32 = 45_000
    public var groupConsumerMinSessionTimeoutMs: Int32 = 45_000
    public var groupConsumerHeartbeatIntervalMs: Int32 = 5000
    public var groupConsumerMinHeartbeatIntervalMs: Int32 = 5000
    public var groupConsumerMaxSize = 1000
    public var shareGroups = ShareGroups()
    /// Event loops; 0 is one for each processor.
    public var threads = 0
    /// Of all listeners together.
    public var maxConnections = 10_000
    public var maxConnectionsPerAddress = Int(Int32.max)
    public var maxConnectionsByAddress: [String: Int] = [:]
    /// Of each listener, in a second.
    public var maxConnectionCreationRate = Int(Int32.max)
    /// Over how many windows of time, of so many seconds each, the rates of client quotas are taken.
    public var quotaWindows = 11
    public var quotaWindowSeconds: Int64 = 1
    /// Bytes of unfinished requests of all connections; beyond it connections are not read until others are finished.
    public var queuedRequestBytesMax = 256 << 20
    /// Files of logs kept open at once; 0 is a share of what the system allows the process.
    public var maxOpenFiles = 0
    /// A file for audit events, `stdout`, or `off`.
    public var auditLog = "off"
    /// A topic for audit events.
    public var auditTopic: String?
    public var auditAllowed = AuditAllowed.none
    public var logLevel = Logger.Level.info
    package var logFormat = LogFormat.text
    /// How long a stop says that it is one before it closes anything.
    public var shutdownDelayMs: Int64 = 0
    /// A JSON file that is there exactly while the broker answers.
    public var readyFile: String?
    /// How much longer every sync takes, in ms: a slow disk, for development.
    package var diskDelayMs = 0
    /// Whether `certificateDirectory` is made for this broker alone and removed with it.
    var hasOwnCertificateDirectory = false

    init() {}

    /// Production defaults: what `martlet serve` starts from.
    public static var production: Configuration { Configuration() }

    /// For a developer's machine, what `martlet dev` starts from: topics are created on first use, groups do not wait
    /// for more members and may use short timeouts.
    public static var development: Configuration {
        var configuration = Configuration()
        configuration.createsTopics = true
        configuration.allowsEveryoneWithoutRule = true
        configuration.groupInitialRebalanceDelayMs = 0
        configuration.groupMinSessionTimeoutMs = 100
        configuration.groupConsumerMinSessionTimeoutMs = 100
        configuration.groupConsumerMinHeartbeatIntervalMs = 10
        return configuration
    }

    /// For a test: like `development`, in memory, on a free port, with certificates of its own.
    public static var fixture: Configuration {
        var configuration = development
        configuration.isEphemeral = true
        configuration.port = 0
        configuration.threads = 1
        configuration.logLevel = .warning
        configuration.hasOwnCertificateDirectory = true
        return configuration
    }

    /// The durability in force.
    public var effectiveDurability: Durability { isEphemeral ? .memory : durability }

    /// Names and addresses that clients elsewhere use: those that were chosen, not those that mean every address.
    var namedHosts: [String] {
        let all = listeners.map(\.host) + (advertise.map { [$0.host] } ?? [])
        return all.filter { !Address(host: $0).isEverywhere && !Address(host: $0).isLoopback }
    }
}
