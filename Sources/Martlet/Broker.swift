// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: a broker, in this process.
//
// Puts the modules together and takes them apart again; it does no work of its own. Start-up touches only what it must:
// the internal logs, the certificates, the sockets. Everything it holds is safe to use from any thread; the one thing that
// changes, whether it was told to stop, is guarded by a mutex.

import Bytes
import Engine
import Glibc
import HTTPServer
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Telemetry
import Transport

/// A running broker: Kafka, gRPC and HTTP on one port.
///
///     let broker = try await Broker.start(.fixture)
///     // Kafka clients: bootstrap.servers = broker.address
///     try await broker.shutdown()
///
/// Every broker has its own topics, certificates, metrics and threads, so that a test suite can run many at once. Call
/// `shutdown` before letting go of it.
public final class Broker: Sendable {
    /// What a client needs for mutual TLS: paths of PEM files.
    public struct Certificates: Equatable, Sendable {
        public let directory: String
        /// The authority that signed the broker's certificate and the client's.
        public let authority: String
        /// A client's certificate.
        public let certificate: String
        /// The key of that certificate.
        public let key: String
    }

    public let configuration: Configuration
    /// Where this machine reaches the broker; the port is the one the system chose if 0 was asked for.
    public let address: Address
    /// Every address it listens on.
    public let addresses: [Address]
    /// nil if certificates of your own were configured.
    public let certificates: Certificates?
    /// Where records are kept; nil if in memory.
    public let dataDirectory: String?

    /// Access rules there are now.
    public var accessRuleCount: Int { parts.engine.access.rules.all.count }

    let parts: BrokerParts
    private let stopping = Mutex<Task<Void, any Error>?>(nil)

    /// Starts a broker and returns when it answers.
    ///
    /// Throws an error of one line that says what, where and what to do: a port that is taken, a data directory that another
    /// process uses, a key that does not belong to its certificate.
    public static func start(_ configuration: Configuration) async throws -> Broker {
        try await start(configuration, warnings: [])
    }

    package static func start(_ configuration: Configuration, warnings: [String]) async throws -> Broker {
        let parts = try BrokerParts(configuration)
        for warning in warnings { parts.logger.warning("\(warning)") }
        do {
            return Broker(configuration, parts, try await parts.listen())
        } catch {
            try? await parts.stop(isClean: false)  // the first error is the one to report
            throw error
        }
    }

    private init(_ configuration: Configuration, _ parts: BrokerParts, _ addresses: [Address]) {
        self.configuration = configuration
        self.parts = parts
        self.addresses = addresses
        address = addresses[0].reachable
        certificates = parts.certificates.forClients
        dataDirectory = configuration.isEphemeral ? nil : absolute(configuration.dataDirectory)
    }

    /// Takes what of `wanted` can change while the broker runs, and looks at the certificate files; the log says what became
    /// of it. `wanted` is a failure if the configuration could not be read.
    package func reload(_ wanted: Result<Configuration, ConfigurationError>) async throws {
        try await parts.reload(wanted)
    }

    /// Says in the log what is wrong and does not keep the broker from running.
    package func tell(errors: [String]) {
        for error in errors { parts.logger.error("\(error)") }
    }

    /// Returns when every event loop has had a turn: they are all alive.
    package func turnLoops() async throws {
        try await parts.turnLoops()
    }

    /// Stops accepting, lets connections finish what they started (5 s at most), writes down that all is well, and frees
    /// everything. Calling it again waits for the first call.
    public func shutdown() async throws {
        try await shutdown(reason: "shutdown was called")
    }

    package func shutdown(reason: String) async throws {
        let task = stopping.withLock { stopping in
            if let stopping { return stopping }
            let task = Task { [parts] in
                parts.logger.notice("stopping: \(reason)")
                await parts.drain()
                try await parts.stop(isClean: true)
                parts.logger.notice("stopped")
            }
            stopping = task
            return task
        }
        try await task.value
    }
}
