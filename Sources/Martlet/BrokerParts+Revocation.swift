// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: connections whose clients' certificates were revoked while they were open.

import Logging
import Synchronization
import Telemetry
import Transport

extension BrokerParts {
    /// Ends those that the lists in force name. On the control loop, bit by bit.
    func endRevoked() {
        let context = certificates.store.current
        for listener in listeners.withLock({ $0 }) {
            listener.endRevoked(by: context, on: control) { [logger, log = audit.log] connection in
                let subject = connection.peerCertificate?.subject ?? ""
                logger.warning(
                    "connection closed: client certificate (\(subject)) was revoked by its CA",
                    metadata: [
                        "listener": "\(connection.listenerName)", "connection": "\(connection.id)",
                        "remote": "\(connection.remoteAddress):\(connection.remotePort)", "principal": "\(connection.principal)",
                    ])
                log.record(
                    AuditEvent(
                        .login, connection.auditSubject, "certificate", .failed,
                        cause: "its certificate was revoked while it was connected"))
            }
        }
    }
}
