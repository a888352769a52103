// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what an access decision costs, measured in this process over a real broker's rules.

import Bytes
import Engine
import NIOPosix
import Telemetry

/// Nanoseconds a decision, by what is decided.
package enum AccessBenchmark {
    package struct Figure: Sendable {
        package var what: String
        package var nanoseconds: Double
    }

    private static let decisions = 100_000
    private static let rounds = 7

    /// A tenth of the rules each: a user's topics by name and by prefix, groups, everybody's, denials, other users'.
    package static func rules(_ count: Int) -> [AccessRule] {
        (0..<count).map { number in
            let user = "User:CN=user-\(number % 50),O=Example"
            let name = "team-\(number % 50)-orders-\(number)"
            return switch number % 10 {
            case 0, 1, 2, 3: AccessRule(.allow, user, .write, .topic, name)
            case 4, 5: AccessRule(.allow, user, .read, .topic, "team-\(number % 50)-\(number)-", pattern: .prefixed)
            case 6: AccessRule(.allow, user, .read, .group, name)
            case 7: AccessRule(.allow, AccessRule.everyone, .describe, .topic, name)
            case 8: AccessRule(.deny, user, .write, .topic, name)
            default: AccessRule(.allow, user, .all, .topic, name, host: "10.0.\(number % 250).1")
            }
        }
    }

    package static func run(rules count: Int) async throws -> [Figure] {
        var configuration = Configuration.fixture
        configuration.allowsEveryoneWithoutRule = false
        let broker = try await Broker.start(configuration)
        let access = broker.engine.access
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
            access.add(rules(count), on: loop) { result in done.resume(with: result.mapError { $0 as any Error }) }
        }
        let figures = measure(access)
        try await broker.shutdown()
        return figures
    }

    private static func measure(_ access: AccessControl) -> [Figure] {
        let user = "User:CN=user-0,O=Example"
        let other = "User:CN=user-1,O=Example"
        func decide(_ principal: String, _ name: String, _ operation: AccessOperation = .write) -> Bool {
            access.decide(principal, host: "10.0.0.7", operation, .topic, name).isAllowed
        }
        return [
            figure("allowed by name") { decide(user, "team-0-orders-0") },
            figure("allowed by prefix") { decide("User:CN=user-4,O=Example", "team-4-4-orders", .read) },
            figure("denied by a rule") { decide("User:CN=user-8,O=Example", "team-8-orders-8") },
            figure("denied, because none allows it") { decide(other, "team-0-orders-0") },
            figure("some topic may be written") {
                access.decideAny(user, host: "10.0.0.7", .write, .topic).isAllowed
            },
            denialWithAudit(access, other),
        ]
    }

    /// The event put into its queue; it is written by another thread, here by nobody.
    private static func denialWithAudit(_ access: AccessControl, _ principal: String) -> Figure {
        let clock = SystemClock()
        let audit = AuditLog(nowMs: { clock.nowMs() }, background: { _ in })
        return figure("denied, because none allows it, and audited", before: { audit.drain() }) {
            let decision = access.decide(principal, host: "10.0.0.7", .write, .topic, "team-0-orders-0")
            audit.record(
                AuditEvent(
                    .access,
                    AuditSubject(
                        principal: principal, address: "10.0.0.7", port: 4711, wire: "kafka", listener: "0.0.0.0:9092",
                        clientId: "app"), "\(AccessOperation.write)", resource: "\(ResourceType.topic)",
                    name: "team-0-orders-0", .denied, rule: decision.rule ?? "none allows it"))
            return decision.isAllowed
        }
    }

    /// The median of several rounds. `before` runs, not counted, so often that the queue is never full.
    private static func figure(_ what: String, before: () -> Void = {}, _ body: () -> Bool) -> Figure {
        let clock = SystemClock()
        let part = 4_000
        var results: [Double] = []
        var allowed = 0
        for _ in 0..<rounds {
            var spentNs: UInt64 = 0
            for _ in 0..<(decisions / part) {
                before()
                let start = clock.monotonicNs()
                for _ in 0..<part { allowed += body() ? 1 : 0 }
                spentNs += clock.monotonicNs() - start
            }
            results.append(Double(spentNs) / Double(decisions))
        }
        let all = rounds * decisions
        precondition(allowed == 0 || allowed == all, "a decision must be the same every time")
        precondition((allowed > 0) == !what.hasPrefix("denied"), "\(what): the rules say otherwise")
        return Figure(what: what, nanoseconds: results.sorted()[rounds / 2])
    }
}

extension Broker {
    fileprivate var engine: Engine { parts.engine }
}
