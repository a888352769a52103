// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: counters of one listener, for the metrics.
//
// Written from every event loop with relaxed atomics; each counter is exact, a snapshot of several
// is not one instant.

import Synchronization

/// A snapshot of what a listener has seen since it was bound.
package struct ListenerStatistics: Sendable, Equatable {
    /// Connections that were accepted, refused ones included.
    package var accepted: Int
    /// Connections that were turned away: wrong protocol, plaintext not allowed, too many.
    package var refused: Int
    /// TLS handshakes that ended well.
    package var handshakes: Int
    /// Those of them that resumed an earlier session.
    package var handshakesResumed: Int
    /// TLS handshakes that failed.
    package var handshakesFailed: Int
}

/// The counters behind `ListenerStatistics`.
final class ListenerCounters: Sendable {
    let accepted = Atomic<Int>(0)
    let refused = Atomic<Int>(0)
    let handshakes = Atomic<Int>(0)
    let handshakesResumed = Atomic<Int>(0)
    let handshakesFailed = Atomic<Int>(0)

    var snapshot: ListenerStatistics {
        ListenerStatistics(
            accepted: accepted.load(ordering: .relaxed), refused: refused.load(ordering: .relaxed),
            handshakes: handshakes.load(ordering: .relaxed),
            handshakesResumed: handshakesResumed.load(ordering: .relaxed),
            handshakesFailed: handshakesFailed.load(ordering: .relaxed))
    }
}
