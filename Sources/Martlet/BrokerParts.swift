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
    /// For what may wait for a disk and must not hold up a connection or a group's timers: retention, checkpoints,
    /// certificates, putting a metrics page together.
    private let housekeeping = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let grpc: GRPCServer
    /// What unfinished requests of all connections hold.
    private let memory: RequestMemory
    private let storage: BrokerStorage
    private let readyFile: ReadyFile?
    private let principal: PrincipalChoice
    private let tokenKeys: TokenKeys?
    private let listeners = Mutex<[Listener]>([])
    private let stopping = Atomic(false)

    /// Everything up to, but without, the sockets.
    init(_ configuration: Configuration) throws(BrokerError) {
        self.configuration = configuration
        readyFile = configuration.readyFile.map { ReadyFile(path: absolute($0)) }
        readyFile?.clear()
        principal = try configuration.principal
        let tokenKeys = try configuration.tokens.keyFile.map { (file) throws(BrokerError) in try TokenKeys(file) }
        self.tokenKeys = tokenKeys
        let clock = clock
        output = LogOutput(format: configuration.logFormat, nowMs: { clock.nowMs() })
        logger = output.logger("Martlet", level: configuration.logLevel)
        certificates = try BrokerCertificates(configuration, clock: clock)
        storage = try BrokerStorage(
            configuration, clock: clock, metrics: metrics,
            logger: output.logger("Storage", level: configuration.logLevel))
        group = MultiThreadedEventLoopGroup(
            numberOfThreads: configuration.threads == 0 ? System.coreCount : configuration.threads)
        do {
            engine = try Engine(
                configuration: configuration.engine, directory: storage.directory, groupCommit: storage.groupCommit,
                loop: group.next(), background: housekeeping.next(), clock: clock, metrics: metrics,
                logger: output.logger("Engine", level: configuration.logLevel))
        } catch {
            throw BrokerError(error.message)
        }
        if let tokenKeys { engine.tokens.use(tokenKeys.first) }
        memory = RequestMemory(limit: configuration.queuedRequestBytesMax)
        grpc = GRPCServer(
            engine: engine, memory: memory, metrics: metrics,
            logger: output.logger("GRPCServer", level: configuration.logLevel),
            web: WebOptions(
                allowedOrigins: configuration.corsAllowedOrigins,
                hosts: (configuration.listen + (configuration.advertise.map { [$0] } ?? [])).map(\.host)),
            logins: configuration.callLogins)
        if let warning = DescriptorShares(configuration).warning(configuration) { logger.warning("\(warning)") }
        ProcessMetrics.register(metrics, startMs: clock.nowMs())
        BrokerMetrics.register(
            metrics, durability: configuration.effectiveDurability, certificates: certificates.store,
            memory: memory, listeners: { [weak self] in self?.listeners.withLock { $0 } ?? [] })
    }

    /// Binds every listener and says that the broker answers.
    func listen() async throws -> [Address] {
        let handlers = handlers
        for (index, address) in configuration.listeners.enumerated() {
            // Names must differ, also of two listeners that both asked for any port.
            let name = index == 0 ? address.description : "\(address) #\(index + 1)"
            do {
                let listener = try await Listener.bind(
                    options(name, address), handlers: handlers, group: group, logger: logger("Transport"))
                listeners.withLock { $0.append(listener) }
            } catch {
                throw BrokerError(error.message)
            }
        }
        let addresses = listeners.withLock { $0.map { Address(host: $0.host, port: $0.port) } }
        startHousekeeping()
        try readyFile?.write(
            address: addresses[0].reachable, durability: configuration.effectiveDurability,
            certificates: certificates.forClients)
        logStart(addresses)
        return addresses
    }

    /// Accepts nothing new and lets connections end.
    func drain() async {
        stopping.store(true, ordering: .relaxed)
        readyFile?.clear()
        engine.prepareToShutDown()
        grpc.health.set(isServing: false)
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
        // On the housekeeping loop, so that no checkpoint is being written at the same time.
        let end = isClean ? housekeeping.next().submit { [engine] in Result { try engine.shutDown() } } : nil
        let outcome = try await end?.get()
        storage.groupCommit.stop()
        try await group.shutdownGracefully()
        try await housekeeping.shutdownGracefully()
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
            engine: engine, advertised: advertised, memory: memory, login: configuration.login, metrics: metrics,
            logger: logger("KafkaServer"))
        let http = HTTPServer(
            version: Version.current, metrics: metrics, logger: logger("HTTPServer"), taker: grpc.taker,
            readiness: { [self] in Readiness(of: self) },
            offload: { [housekeeping] in housekeeping.any().execute($0) })
        return ProtocolHandlers(
            kafka: { try kafka.configure($0, $1) }, http2: { [grpc] in try grpc.configure($0, $1) },
            http1: { try http.configure($0, $1) })
    }

    private func options(_ name: String, _ address: Address) -> ListenerOptions {
        var options = ListenerOptions(
            name: name, host: address.host, port: address.port, plaintext: configuration.plaintext.policy,
            tls: certificates.store, clientAuthentication: configuration.clientAuthentication.transport,
            principal: principal)
        options.limits.connectionsMax = DescriptorShares(configuration).connections
        return options
    }

    private func startHousekeeping() {
        let loop = housekeeping.next()
        engine.startHousekeeping(on: loop)
        loop.scheduleRepeatedTask(
            initialDelay: Limits.certificateCheckInterval, delay: Limits.certificateCheckInterval
        ) { [certificates, logger, tokenKeys, engine] _ in
            certificates.refresh(logger: logger)
            tokenKeys?.refresh(engine.tokens, logger: logger)
        }
    }

    private func logStart(_ addresses: [Address]) {
        if !certificates.minted.isEmpty {
            logger.notice(
                "certificates were made", metadata: ["files": "\(certificates.minted.joined(separator: " "))"])
        }
        logger.notice(
            "ready",
            metadata: [
                "address": "\(addresses.map(\.description).joined(separator: ","))",
                "durability": "\(configuration.effectiveDurability.rawValue)",
            ])
    }

    private func logger(_ label: String) -> Logger {
        output.logger(label, level: configuration.logLevel)
    }
}
