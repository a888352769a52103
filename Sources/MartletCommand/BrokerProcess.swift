// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: a broker that is a process: it starts, says so, waits for signals and leaves in order.
//
// The main thread does nothing but wait for signals: SIGHUP lets the broker read its files again; the first SIGTERM or
// SIGINT asks it to stop, a second ends the process at once, for whoever does not want to wait. The broker's own threads
// do the rest.

import Glibc
import Martlet
import Telemetry

enum BrokerProcess {
    private enum Request: Sendable {
        case reload
        case stop(reason: String)
    }

    /// Runs a broker until a signal ends it. Call on the main thread.
    static func run(_ command: BrokerCommand, arguments: [String]) throws -> Never {
        if arguments.contains(checkFlag) { check(command, arguments.filter { $0 != checkFlag }) }
        let signals = BrokerSignals()
        DescriptorShares.raiseLimit()
        let loader = ConfigurationLoader.load(
            defaults: command.defaults, arguments: arguments, environment: Environment.variables)
        refuseProblems(loader)
        // Reloads that nobody has got to yet are one.
        let (requests, continuation) = AsyncStream.makeStream(of: Request.self, bufferingPolicy: .bufferingNewest(1))
        Task.detached {
            do {
                try await live(loader, until: requests) { () throws(ConfigurationError) in
                    try ConfigurationLoader.load(
                        defaults: command.defaults, arguments: arguments, environment: Environment.variables
                    ).accepted()
                }
                exit(0)
            } catch {
                Main.end(error)
            }
        }
        var number = signals.wait()
        while number == SIGHUP {
            continuation.yield(.reload)
            number = signals.wait()
        }
        continuation.yield(.stop(reason: number == SIGTERM ? "SIGTERM" : "SIGINT"))
        let second = signals.waitForEnd()
        Terminal.write("ended at once by a second signal; the next start checks the logs\n", to: STDERR_FILENO)
        _exit(128 + second)
    }

    static let checkFlag = "--check"

    /// Says whether a broker would start, and why not.
    private static func check(_ command: BrokerCommand, _ arguments: [String]) -> Never {
        let loader = ConfigurationLoader.load(
            defaults: command.defaults, arguments: arguments, environment: Environment.variables)
        let findings = ConfigurationCheck.findings(loader)
        for finding in findings {
            Terminal.write("\(finding.severity.rawValue): \(finding.line)\n", to: STDERR_FILENO)
        }
        let isGood = !findings.contains { $0.severity == .error }
        if isGood { Terminal.print(ConfigurationCheck.summary(loader)) }
        exit(isGood ? 0 : 1)
    }

    /// Ends the process with every mistake of the configuration, one a line.
    private static func refuseProblems(_ loader: ConfigurationLoader) {
        guard !loader.problems.isEmpty else { return }
        for problem in loader.problems { Terminal.write("error: \(problem)\n", to: STDERR_FILENO) }
        // The next start would end like this one: a service manager can tell by the status that it need not try.
        exit(loader.problems.contains(where: \.isUsage) ? EX_USAGE : EX_CONFIG)
    }

    private static func live(
        _ loader: ConfigurationLoader, until requests: AsyncStream<Request>,
        reading: @escaping @Sendable () throws(ConfigurationError) -> Configuration
    ) async throws {
        let broker = try await Broker.start(loader.configuration, warnings: loader.warnings)
        broker.tell(errors: ConfigurationCheck.errorsAtStart(loader))
        if loader.configuration.logFormat == .text { Terminal.print(Banner.text(for: broker)) }
        let notifier = ServiceNotifier(Environment.variables)
        let status = "serving on \(broker.addresses.map(\.description).joined(separator: ", "))"
        notifier.ready(status)
        let watchdog = notifier.watchdogInterval.map { interval in
            // Only a broker whose event loops all turn gives a sign of life.
            Task {
                while !Task.isCancelled {
                    try await broker.turnLoops()
                    notifier.alive()
                    try await Task.sleep(for: interval)
                }
            }
        }
        for await request in requests {
            switch request {
            case .reload:
                notifier.reloading()
                try await broker.reload(Result(catching: reading))
                notifier.ready(status)
            case .stop(let reason):
                notifier.stopping()
                try await broker.shutdown(reason: reason)
                watchdog?.cancel()
                return
            }
        }
    }
}
