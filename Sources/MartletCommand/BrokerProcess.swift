// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: a broker that is a process: it starts, says so, waits for a signal and leaves in order.
//
// The main thread does nothing but wait for signals: the first asks the broker to stop, a second ends the process at
// once, for whoever does not want to wait. The broker's own threads do the rest.

import Glibc
import Martlet

enum BrokerProcess {
    /// Runs a broker until a signal ends it. Call on the main thread.
    static func run(_ command: BrokerCommand, arguments: [String]) throws -> Never {
        let signals = TerminationSignals()
        DescriptorShares.raiseLimit()
        let loader = try ConfigurationLoader.load(
            defaults: command.defaults, arguments: arguments, environment: Environment.variables)
        let (requests, continuation) = AsyncStream.makeStream(of: String.self)
        Task.detached {
            do {
                try await live(loader, until: requests)
                exit(0)
            } catch {
                Main.end(error)
            }
        }
        let first = signals.wait()
        continuation.yield(first == SIGTERM ? "SIGTERM" : "SIGINT")
        let second = signals.wait()
        Terminal.write("ended at once by a second signal; the next start checks the logs\n", to: STDERR_FILENO)
        _exit(128 + second)
    }

    private static func live(_ loader: ConfigurationLoader, until requests: AsyncStream<String>) async throws {
        let broker = try await Broker.start(loader.configuration, warnings: loader.warnings)
        if loader.configuration.logFormat == .text { Terminal.print(Banner.text(for: broker)) }
        for await signal in requests { return try await broker.shutdown(reason: signal) }
    }
}
