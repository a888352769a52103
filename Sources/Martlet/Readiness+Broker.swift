// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: how ready a broker is, as `/readyz` tells it.

import Bytes
import Engine
import HTTPServer
import Storage
import Telemetry

extension Readiness {
    init(of parts: BrokerParts) {
        self.init(durability: parts.configuration.effectiveDurability.rawValue)
        if parts.isStopping { problems.append("the broker is stopping") }
        failedLogs = parts.engine.allPartitions.compactMap { partition in
            partition.failure.map { FailedLog(name: partition.name, reason: "\($0)") }
        }
        certificateExpiresMs = parts.certificates.expiryMs
        certificates = parts.certificates.firstExpiries.map {
            Certificate(kind: $0.kind.rawValue, subject: $0.subject, expiresMs: $0.notAfterMs)
        }
        warnings += parts.certificates.warnings
        if let failure = parts.engine.access.policy?.failure {
            warnings.append(
                "the external policy gives no decisions since \(Timestamp.iso8601(failure.sinceMs)), so access is denied to all"
                    + " but super users: \(failure.cause)")
        }
        timeMs = parts.clock.nowMs()
        diskAvailableBytes = parts.availableBytes
        if let bytes = diskAvailableBytes, bytes < Limits.diskWarningBytes {
            let advice = "\(bytes) bytes are left; make room or shorten retention"
            if bytes < Limits.diskProblemBytes {
                problems.append("the data's disk is full, producers get errors until there is space: \(advice)")
            } else {
                warnings.append("the data's disk is almost full: \(advice)")
            }
        }
        let refused = parts.engine.allPartitions.compactMap { partition in
            partition.refusal.map { (name: partition.name, reason: $0.message) }
        }
        warnings += refused.prefix(Limits.partitionsNamed).map {
            "the last write to \($0.name) was refused: \($0.reason)"
        }
        if refused.count > Limits.partitionsNamed {
            warnings.append("the last writes to \(refused.count - Limits.partitionsNamed) more partitions were refused")
        }
    }
}
