// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: how often a peer may do what makes work and brings nothing, as a token bucket.
//
// A peer that opens streams only to reset them, or sends frames without content, makes work at no cost to itself; one that does so
// now and then is doing what gRPC and browsers do. The clock is asked only when something was taken.

import Bytes

struct TokenBucket {
    private let burst: Int
    private let perSecond: Int
    private let clock: any Clock
    private var tokens: Int
    private var lastNs: UInt64

    init(burst: Int, perSecond: Int, clock: any Clock) {
        self.burst = burst
        self.perSecond = perSecond
        self.clock = clock
        tokens = burst
        lastNs = clock.monotonicNs()
    }

    /// Counts one; false if it is one too many.
    mutating func take() -> Bool {
        if tokens < burst { refill() }
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }

    /// The peer has done something that is worth so many.
    mutating func earn(_ count: Int) {
        tokens = min(burst, tokens + count)
    }

    private mutating func refill() {
        let now = clock.monotonicNs()
        guard now > lastNs, perSecond > 0 else { return }
        let nsPerToken = 1_000_000_000 / UInt64(perSecond)
        let earned = (now - lastNs) / nsPerToken
        guard earned > 0 else { return }
        tokens = Int(min(UInt64(burst), UInt64(tokens) + min(earned, UInt64(burst))))
        lastNs += earned * nsPerToken
    }
}
