// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the time by which retention judges the age of records.
//
// That is the wall clock, as in Kafka. But a wall clock that is suddenly set far forward makes every record look old,
// and what retention then deletes does not come back when the clock is set right. So a jump, seen as wall time that
// passed faster than monotonic time, counts only once it has stood for a while. A plain value; its owner guards it.

/// Wall time without jumps forward that are young.
struct RetentionClock {
    /// Wall time that is ahead by less than this, in ms, has not jumped: synchronisation moves it by less.
    static let toleranceMs: Int64 = 10 * 60 * 1000
    /// How long a jump is not believed, in ms of monotonic time: time to notice the warning and to set the clock.
    static let graceMs: Int64 = 60 * 60 * 1000

    /// A wall time that was believed, and the monotonic time then. What follows from it is believed as well, so that a
    /// clock that was set back by mistake may come back.
    private var believedMs: Int64
    private var sinceMs: Int64
    /// A jump that is not believed: how far it is, and until when.
    private var jump: (aheadMs: Int64, untilMs: Int64)?

    init(wallMs: Int64, monotonicNs: UInt64) {
        believedMs = wallMs
        sinceMs = Int64(clamping: monotonicNs / 1_000_000)
    }

    /// The time to judge by, and how far the clock was found to have jumped since the last call (0: it did not).
    mutating func now(wallMs: Int64, monotonicNs: UInt64) -> (judgedMs: Int64, jumpMs: Int64) {
        let monotonicMs = Int64(clamping: monotonicNs / 1_000_000)
        let expectedMs = believedMs + (monotonicMs - sinceMs)
        let aheadMs = wallMs - expectedMs
        guard aheadMs > Self.toleranceMs else {
            jump = nil
            if aheadMs >= -Self.toleranceMs { (believedMs, sinceMs) = (wallMs, monotonicMs) }
            return (wallMs, 0)
        }
        if let jump, aheadMs - jump.aheadMs <= Self.toleranceMs {
            guard monotonicMs >= jump.untilMs else { return (expectedMs, 0) }
            self.jump = nil
            (believedMs, sinceMs) = (wallMs, monotonicMs)
            return (wallMs, 0)
        }
        let furtherMs = aheadMs - (jump?.aheadMs ?? 0)
        jump = (aheadMs, monotonicMs + Self.graceMs)
        return (expectedMs, furtherMs)
    }
}
