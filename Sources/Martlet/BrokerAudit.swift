// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the audit log of a broker: where its events go, and the thread that writes them.
//
// The thread may wait for a slow disk; nobody waits for it. Without an audit log there is none.

import Bytes
import Engine
import Logging
import NIOCore
import NIOPosix
import Telemetry

struct BrokerAudit: Sendable {
    let log: AuditLog
    private let topic: String?
    /// nil: there is nothing to write.
    private let group: MultiThreadedEventLoopGroup?

    init(_ configuration: Configuration, clock: any Clock, metrics: Metrics, logger: Logger) throws(BrokerError) {
        topic = configuration.auditTopic
        guard configuration.auditLog != "off" || topic != nil else {
            (log, group) = (.off, nil)
            return
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        self.group = group
        log = AuditLog(
            recordsAllowed: configuration.auditAllowed == .all, topic: topic, nowMs: { clock.nowMs() }) { loop.execute($0) }
        log.register(metrics)
        guard configuration.auditLog != "off" else { return }
        let path = configuration.auditLog == "stdout" ? nil : absolute(configuration.auditLog)
        let file = AuditFile(path: path, logger: logger)
        if let problem = file.problem() {
            throw BrokerError(
                "audit.log: cannot write \(path ?? "stdout"): \(problem); name a file that this user may write, in a directory that exists")
        }
        log.add(file)
    }

    /// Events go to the topic too, if one is configured.
    func begin(_ engine: Engine) {
        guard let topic, let group else { return }
        log.add(AuditTopic(engine: engine, name: topic, loop: group.next()))
    }

    /// Writes what is left. Before the engine ends.
    func flush() async {
        guard let group else { return }
        let loop = group.next()
        // Neither can fail. The second comes when what the first has appended is written.
        _ = try? await loop.submit { [log] in log.finish() }.get()
        _ = try? await loop.submit {}.get()
    }

    func stop() async throws { try await group?.shutdownGracefully() }
}
