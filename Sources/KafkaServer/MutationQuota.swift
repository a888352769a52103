// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the partitions that one request creates or deletes, held against its client's quota (KIP-599).
//
// Versions that know THROTTLING_QUOTA_EXCEEDED are refused, topic by topic, while the client owes; earlier ones are served, and
// the client waits. Confined to the connection's loop.

import Engine
import KafkaWire

final class MutationQuota: @unchecked Sendable {
    // Unchecked: see above.
    static let refusal = "The throttling quota has been exceeded."
    private let isStrict: Bool
    /// Answers with what there is to wait.
    private(set) var exchange: Exchange

    init(_ exchange: Exchange, isStrict: Bool) {
        self.exchange = exchange
        self.isStrict = isStrict
    }

    /// Whether so many partitions may be changed.
    func admits(_ partitions: Int) -> Bool {
        guard exchange.engine.quotas.isInForce else { return true }
        let connection = exchange.connection
        let (throttleMs, isRefused) = exchange.engine.quotas.chargeMutations(
            connection.quotaClient, partitions, isStrict: isStrict)
        connection.mute(forMs: throttleMs)
        exchange.throttleTimeMs = max(exchange.throttleTimeMs, throttleMs)
        return !isRefused
    }
}
