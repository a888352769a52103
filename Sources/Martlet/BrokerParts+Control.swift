// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what a broker does for commands on the same machine: backups, and how it is.

import Bytes
import Engine
import HTTPServer
import Logging
import NIOCore
import Storage
import Synchronization
import Telemetry

extension BrokerParts {
    /// Listens for commands. A broker that cannot (a full disk) goes on without.
    func listenForCommands() async {
        guard let path = controlPath else { return }
        do {
            let channel = try await ControlSocket.bind(at: path, on: control) { [weak self] in
                self?.answer($0) ?? "{\"error\":\"the broker is stopping\"}"
            }
            controlChannel.withLock { $0 = channel }
        } catch {
            logger.warning("commands such as `martlet backup` cannot reach this broker: \(error)")
        }
    }

    func stopListeningForCommands() async {
        guard let channel = controlChannel.withLock({ $0 }), let path = controlPath else { return }
        try? await channel.close()
        TextFile.remove(path)
    }

    /// nil: a broker in memory that says nowhere that it is there.
    private var controlPath: String? {
        guard configuration.isEphemeral else { return "\(absolute(configuration.dataDirectory))/\(ControlSocket.name)" }
        return configuration.readyFile.map { ControlSocket.path(besideReadyFile: absolute($0)) }
    }

    private func answer(_ request: JSONValue) -> String {
        switch (request["command"]?.text, request["directory"]?.text) {
        case ("backup", let target?): answerBackup(to: target)
        case ("readiness", _): answerReadiness()
        default: "{\"error\":\"this broker does not know that command; is it older than the command line?\"}"
        }
    }

    /// What `/readyz` says, if those who serve clients are alive.
    private func answerReadiness() -> String {
        guard loopsTurn(within: Limits.loopsTurn) else { return "{\"error\":\"an event loop of the broker hangs\"}" }
        return Readiness(of: self).json(version: Version.current)
    }

    private func answerBackup(to target: String) -> String {
        do {
            let start = clock.monotonicNs()
            let report = try backUp(to: target)
            let ms = (clock.monotonicNs() - start) / 1_000_000
            logger.notice(
                "a backup was written",
                metadata: [
                    "directory": "\(target)", "logs": "\(report.logs)", "bytes": "\(report.bytes)",
                    "copied bytes": "\(report.copiedBytes)", "ms": "\(ms)",
                ])
            return """
                {"logs":\(report.logs),"files":\(report.files),"linked_files":\(report.linkedFiles),\
                "bytes":\(report.bytes),"copied_bytes":\(report.copiedBytes),"ms":\(ms)}
                """
        } catch {
            logger.error("a backup failed: \(error)", metadata: ["directory": "\(target)"])
            return "{\"error\":\(JSONText.quoted("\(error)"))}"
        }
    }

    /// On a thread that may wait.
    func backUp(to path: String) throws -> BackupReport {
        guard !isStopping else { throw BrokerError("the broker is stopping") }
        let loop = diskWork
        return try engine.backUp(to: path) { work in try loop.submit(work).wait() }
    }
}
