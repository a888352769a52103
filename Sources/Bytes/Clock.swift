// SPDX-License-Identifier: Apache-2.0
// Martlet, Bytes: the clock seam.
//
// All time in the broker comes from an injected `Clock`: the real one, or `ManualClock` in tests and
// simulation. Timers that must fire on an event loop use the loop's own deadlines instead.

import Glibc
import Synchronization

/// Where the broker's time comes from. Safe to call from any thread.
package protocol Clock: Sendable {
    /// Wall clock, milliseconds since the Unix epoch (Kafka's timestamp unit).
    func nowMs() -> Int64
    /// Monotonic nanoseconds from an arbitrary origin; for durations only.
    func monotonicNs() -> UInt64
}

/// The machine's clock.
package struct SystemClock: Clock {
    package init() {}

    package func nowMs() -> Int64 {
        var time = timespec()
        // SAFETY: `time` is a live local for the duration of the call.
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    package func monotonicNs() -> UInt64 {
        var time = timespec()
        // SAFETY: `time` is a live local for the duration of the call.
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

/// A clock that stands still until it is moved.
package final class ManualClock: Clock {
    private let now: Mutex<(wallMs: Int64, monotonicMs: Int64)>

    package init(nowMs: Int64 = 1_700_000_000_000) {
        now = Mutex((nowMs, nowMs))
    }

    package func nowMs() -> Int64 { now.withLock { $0.wallMs } }

    package func monotonicNs() -> UInt64 { UInt64(now.withLock { $0.monotonicMs }) * 1_000_000 }

    /// Moves the wall clock by `ms` milliseconds, backwards if negative; monotonic time never goes back.
    package func advance(ms: Int64) {
        now.withLock {
            $0.wallMs += ms
            $0.monotonicMs += max(0, ms)
        }
    }
}
