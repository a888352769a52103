// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what a broker is made of, in the order in which it is made; it ends in the opposite order.
//
// Holds the parts and passes them to each other; what they do is theirs. The list of listeners, which grows while the
// broker starts, is guarded by its mutex; everything else is set once.

import Bytes
import Engine
import GRPCServer
import HTTPServer
import KafkaServer
import Logging
import NIOCore
import NIOPosix
import PolicyClient
import Storage
import Synchronization
import Telemetry
import Transport

final class BrokerParts: Sendable {
    let logger: Logger
    let certificates: BrokerCertificates
    let engine: Engine
    let configuration: Configuration
    let clock = SystemClock()
    private let output: LogOutput
    private let metrics = Metrics()
    private let group: MultiThreadedEventLoopGroup
    /// For what may wait for the data's disk and must not hold up anything else: retention, checkpoints, compaction.
    private let housekeeping = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    /// For what concerns the broker as a whole and takes a moment: health, metrics, commands, certificates and other files
    /// that are watched. A slow disk must not make it look dead.
    private let attendance = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let grpc: GRPCServer
    private let connectionLimits: ConnectionLimits
    let audit: BrokerAudit
    /// What unfinished requests of all connections hold.
    private let memory: RequestMemory
    private let storage: BrokerStorage
    private let readyFile: ReadyFile?
    private let principal: PrincipalChoice
    private let tokenKeys: TokenKeys?
    private let policy: PolicyClient?
    private let policyToken: PolicyToken?
    private let policyAuthority: PolicyAuthority?
    let listeners = Mutex<[Listener]>([])
    private let stopping = Atomic(false)
    /// Where commands on this machine are listened for.
    let controlChannel = Mutex<(any Channel)?>(nil)
    var control: any EventLoop { attendance.next() }
    var diskWork: any EventLoop { housekeeping.next() }
    /// What is in force: the configuration of the start with what was reloaded since.
    private let running: Mutex<Configuration>

    /// Everything up to, but without, the sockets.
    init(_ configuration: Configuration) throws(BrokerError) {
        self.configuration = configuration
        readyFile = configuration.readyFile.map { ReadyFile(path: absolute($0)) }
        readyFile?.clear()
        principal = try configuration.principal
        let tokenKeys = try configuration.tokens.keyFile.map { (file) throws(BrokerError) in try TokenKeys(file) }
        self.tokenKeys = tokenKeys
        let clock = clock
        output = LogOutput(
            format: configuration.logFormat, level: configuration.logLevel, hasPriorities: JournalPriority.isRead(),
            nowMs: { clock.nowMs() })
        logger = output.logger("Martlet")
        running = Mutex(configuration)
        certificates = try BrokerCertificates(configuration, clock: clock)
        storage = try BrokerStorage(
            configuration, clock: clock, metrics: metrics,
            logger: output.logger("Storage"))
        audit = try BrokerAudit(configuration, clock: clock, metrics: metrics, logger: output.logger("Audit"))
        group = MultiThreadedEventLoopGroup(
            numberOfThreads: configuration.threads == 0 ? System.coreCount : configuration.threads)
        policyToken = try configuration.policy.token()
        policyAuthority = configuration.policy.watchedAuthority
        policy = try configuration.policy.client(on: group.next(), token: policyToken?.first)
        do {
            engine = try Engine(
                configuration: configuration.engine, directory: storage.directory, groupCommit: storage.groupCommit,
                loop: group.next(), background: housekeeping.next(), clock: clock, metrics: metrics,
                logger: output.logger("Engine"), audit: audit.log, policy: policy)
        } catch {
            throw BrokerError(error.message)
        }
        audit.begin(engine)
        if let tokenKeys { engine.tokens.use(tokenKeys.first) }
        memory = RequestMemory(limit: configuration.queuedRequestBytesMax)
        connectionLimits = ConnectionLimits(configuration.connectionRules) { [quotas = engine.quotas] in
            quotas.chargeConnection(from: $0)
        }
        grpc = GRPCServer(
            engine: engine, memory: memory, metrics: metrics,
            logger: output.logger("GRPCServer"),
            web: configuration.web,
            logins: configuration.callLogins, maxIdleMs: configuration.maxIdleMs)
        if let warning = DescriptorShares(configuration).warning(configuration) { logger.warning("\(warning)") }
        ProcessMetrics.register(metrics, startMs: clock.nowMs())
        BrokerMetrics.register(
            metrics, durability: configuration.effectiveDurability, certificates: certificates,
            memory: memory, limits: connectionLimits, listeners: { [weak self] in self?.listeners.withLock { $0 } ?? [] })
    }

    /// Binds every listener and says that the broker answers.
    func listen() async throws -> [Address] {
        let handlers = handlers
        for (index, policy) in configuration.listenerPolicies.enumerated() {
            // Names must differ, also of two listeners that both asked for any port.
            let name = policy.address.name ?? (index == 0 ? "\(policy.address)" : "\(policy.address) #\(index + 1)")
            do {
                let listener = try await Listener.bind(
                    options(name, policy), handlers: handlers, group: group, logger: logger("Transport"))
                listeners.withLock { $0.append(listener) }
            } catch {
                throw BrokerError(error.message)
            }
        }
        let addresses = listeners.withLock { $0.map { Address(host: $0.host, port: $0.port) } }
        startHousekeeping()
        await listenForCommands()
        try readyFile?.write(
            address: addresses[0].reachable, durability: configuration.effectiveDurability,
            data: configuration.isEphemeral ? nil : absolute(configuration.dataDirectory), certificates: certificates.forClients)
        logStart(addresses)
        return addresses
    }

    /// Comes back when every loop that serves clients has turned. Housekeeping may unlink files for minutes and is none.
    func turnLoops() async throws {
        for loop in group.makeIterator() { try await loop.submit {}.get() }
    }

    /// Whether they all turn within `limit`. On a thread that may wait.
    func loopsTurn(within limit: TimeAmount) -> Bool {
        let turned = control.makePromise(of: Void.self)
        let timer = control.scheduleTask(in: limit) { turned.fail(BrokerError("an event loop does not turn")) }
        EventLoopFuture.andAllSucceed(group.makeIterator().map { $0.submit {} }, on: control).cascade(to: turned)
        defer { timer.cancel() }
        return (try? turned.futureResult.wait()) != nil
    }

    /// Says that it stops, and, once whoever balances load could notice, accepts nothing new and lets connections end.
    func drain() async {
        stopping.store(true, ordering: .relaxed)
        readyFile?.clear()
        grpc.health.set(isServing: false)
        if configuration.shutdownDelayMs > 0 {
            logger.notice(
                "not ready any more; clients are served for a while yet",
                metadata: ["shutdown.delay.ms": "\(configuration.shutdownDelayMs)"])
            try? await control.scheduleTask(in: .milliseconds(configuration.shutdownDelayMs)) {}.futureResult.get()
        }
        engine.prepareToShutDown()
        await withTaskGroup { tasks in
            for listener in listeners.withLock({ $0 }) {
                tasks.addTask { await listener.drain(grace: Limits.drainGrace) }
            }
        }
    }

    /// Frees everything; connections are closed by then. `isClean` false: the start failed, nothing is written down.
    func stop(isClean: Bool) async throws {
        readyFile?.clear()
        for listener in listeners.withLock({ $0 }) { await listener.stopAccepting() }
        await stopListeningForCommands()
        policy?.close()
        await audit.flush()
        if isClean { await withCheckedContinuation { done in engine.shares.writeDeliveries { done.resume() } } }
        // On the housekeeping loop, so that no checkpoint is being written at the same time.
        let end = isClean ? housekeeping.next().submit { [engine] in Result { try engine.shutDown() } } : nil
        let outcome = try await end?.get()
        storage.groupCommit.stop()
        try await group.shutdownGracefully()
        try await audit.stop()
        try await housekeeping.shutdownGracefully()
        try await attendance.shutdownGracefully()
        certificates.removeTemporary()
        if case .failure(let error) = outcome {
            throw BrokerError("the broker stopped, and the next start has to check the logs: \(error)")
        }
    }

    var isStopping: Bool { stopping.load(ordering: .relaxed) }
    var availableBytes: Int64? { configuration.isEphemeral ? nil : storage.fileSystem.availableBytes() }
}

// MARK: - Putting together

extension BrokerParts {
    /// Which edge takes a connection, by the protocol it speaks.
    private var handlers: ProtocolHandlers {
        let advertised = configuration.advertise.map { KafkaServer.Advertised(host: $0.host, port: $0.port) }
        let kafka = KafkaServer(
            engine: engine, advertised: advertised, memory: memory, logins: configuration.logins,
            maxIdleMs: configuration.maxIdleMs, metrics: metrics,
            logger: logger("KafkaServer"))
        let http = HTTPServer(
            version: Version.current, metrics: metrics, logger: logger("HTTPServer"),
            limits: HTTPLimits(idleTimeout: .milliseconds(configuration.maxIdleMs)), taker: grpc.taker,
            gate: { [grpc] in grpc.admitToPage($0, $1, on: $2, completion: $3) },
            readiness: { [self] in Readiness(of: self) },
            offload: { [attendance] in attendance.any().execute($0) })
        return ProtocolHandlers(
            kafka: { try kafka.configure($0, $1) }, http2: { [grpc] in try grpc.configure($0, $1) },
            http1: { try http.configure($0, $1) })
    }

    private func options(_ name: String, _ policy: ListenerPolicy) -> ListenerOptions {
        var options = ListenerOptions(
            name: name, host: policy.address.host, port: policy.address.port, plaintext: policy.plaintext.policy,
            tls: certificates.store, clientAuthentication: policy.clientAuthentication.transport,
            seenClients: certificates.seenClients, principal: principal)
        // Those of all listeners are counted by `connectionLimits`; here come those that are refused by them.
        options.limits.connectionsMax =
            configuration.connectionRules.connectionsMax + configuration.connectionRules.refusedAtOnceMax
        options.connectionLimits = connectionLimits
        options.onFailedLogin = { [log = audit.log] in
            log.record(AuditEvent(.login, $0.auditSubject, "certificate", .failed, cause: $1))
        }
        if configuration.maxConnectionCreationRate < Int32.max {
            options.acceptedPerSecond = configuration.maxConnectionCreationRate
        }
        return options
    }

    private func startHousekeeping() {
        engine.startHousekeeping(on: diskWork)
        control.scheduleRepeatedTask(initialDelay: .zero, delay: Limits.certificateCheckInterval) {
            [weak self, certificates, grpc, logger, tokenKeys, engine] _ in
            if certificates.refresh(logger: logger) { self?.endRevoked() }
            tokenKeys?.refresh(engine.tokens, logger: logger)
            self?.refreshPolicy()
            grpc.health.set(warning: certificates.healthWarning)
        }
    }

    /// On the control loop only.
    private func refreshPolicy() {
        guard let policy else { return }
        policyToken?.refresh(policy, logger: logger)
        policyAuthority?.refresh(policy, logger: logger)
    }

    /// Puts in force what can change while the broker runs, looks at the certificate files now, and says what became of it.
    func reload(_ wanted: Result<Configuration, ConfigurationError>) async throws {
        try await control.submit { [self] in
            switch wanted {
            case .success(let configuration): take(configuration)
            case .failure(let error): logger.error("the configuration cannot be used, the old one stays in force: \(error)")
            }
            if certificates.refresh(logger: logger, isAsked: true) { endRevoked() }
            refreshPolicy()
            grpc.health.set(warning: certificates.healthWarning)
        }.get()
    }

    private func take(_ wanted: Configuration) {
        let outcome = running.withLock { running in
            Result { () throws(ConfigurationError) in (try ConfigurationChange(&running, wanted: wanted), running) }
        }
        guard case .success((let change, let configuration)) = outcome else { return }
        if change.changed("log.level") { output.level = configuration.logLevel }
        if change.changed("super.users") { engine.access.use(superUsers: Set(configuration.superUsers)) }
        if change.changed("cors.allowed.origins") { grpc.use(configuration.web) }
        if change.applied.contains(where: { $0.hasPrefix("log.") || $0.hasPrefix("message.") }) {
            engine.changeStartDefaults(configuration.topicDefaults.overrides)
        }
        if change.applied.isEmpty, change.needsRestart.isEmpty { logger.notice("the configuration has not changed") }
        if !change.applied.isEmpty {
            logger.notice("the configuration was read again", metadata: ["changed": "\(change.applied.joined(separator: ", "))"])
        }
        if !change.needsRestart.isEmpty {
            logger.warning("settings have changed that need a restart", metadata: ["settings": "\(change.needsRestart.joined(separator: ", "))"])
        }
    }

    private func logStart(_ addresses: [Address]) {
        if !certificates.minted.isEmpty {
            logger.notice(
                "certificates were made",
                metadata: [
                    "files": "\(certificates.minted.joined(separator: " "))",
                    "names": "\(certificates.mintedHosts.joined(separator: " "))",
                ])
        }
        logger.notice(
            "ready",
            metadata: [
                "address": "\(addresses.map(\.description).joined(separator: ","))",
                "durability": "\(configuration.effectiveDurability.rawValue)",
            ])
    }

    private func logger(_ label: String) -> Logger {
        output.logger(label)
    }
}
