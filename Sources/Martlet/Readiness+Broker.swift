// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: how ready a broker is, as `/readyz` tells it.

import Engine
import HTTPServer

extension Readiness {
    init(of parts: BrokerParts) {
        self.init(durability: parts.configuration.effectiveDurability.rawValue)
        if parts.isStopping { problems.append("the broker is stopping") }
        failedLogs = parts.engine.allPartitions.compactMap { partition in
            partition.failure.map { FailedLog(name: partition.name, reason: "\($0)") }
        }
        certificateExpiresMs = parts.certificates.expiryMs
        if let expiryMs = certificateExpiresMs, expiryMs - parts.clock.nowMs() < Limits.certificateWarningMs {
            warnings.append("the broker's certificate expires soon; replace its files")
        }
        diskAvailableBytes = parts.availableBytes
        if let bytes = diskAvailableBytes, bytes < Limits.diskWarningBytes {
            warnings.append("the data's disk is almost full: \(bytes) bytes are left; make room or shorten retention")
        }
    }
}
