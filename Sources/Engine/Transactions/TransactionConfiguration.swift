// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what of transactions can be configured, and every bound on what the coordinator keeps.

package struct TransactionConfiguration: Equatable, Sendable {
    /// `transaction.max.timeout.ms`; above it a producer gets INVALID_TRANSACTION_TIMEOUT.
    package var maxTimeoutMs: Int32 = 900_000
    /// `transactional.id.expiration.ms`: an id without an open transaction is forgotten after this long.
    package var idExpirationMs: Int64 = 7 * 24 * 3_600 * 1_000
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: between looks for timed out transactions; also
    /// how long the coordinator waits before it tries again to write a marker.
    package var cleanUpIntervalMs: Int64 = 10_000

    /// Bytes of a transactional id; INVALID_REQUEST.
    package var idBytesMax = 1_024
    /// Transactional ids at a time; COORDINATOR_NOT_AVAILABLE to a new one.
    package var idsMax = 100_000
    /// Partitions of one transaction; INVALID_REQUEST.
    package var partitionsMax = 100_000
    /// Offsets that wait in open transactions, of all together; COORDINATOR_NOT_AVAILABLE.
    package var offsetsMax = 1_000_000

    /// Requests that wait for a change of one transactional id; CONCURRENT_TRANSACTIONS to one more.
    package var waitingMax = 1_000

    package init() {}
}
