// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the time by which retention judges the age of records.
//
// That is the wall clock, as in Kafka. But a wall clock that is suddenly set far forward makes every record look old,
// and what retention then deletes does not come back when the clock is set right. So a jump, seen as wall time that
// passed faster than monotonic time, counts only once it has stood for a while. A plain value; its owner guards it.

/// Wall time without jumps forward that are young.
struct RetentionClock {
    /// Wall time that is passed by less than this, in ms, is no jump: daylight saving does not change it, and
    /// synchronisation changes it by less.
    static let toleranceMs: Int64 = 10 * 60 * 1000
    /// How long a jump is not believed, in ms of monotonic time: time to notice the warning and to set the clock.
    static let graceMs: Int64 = 60 * 60 * 1000

    private var wallMs: Int64
    private var monotonicMs: Int64
    /// How far the wall clock has jumped ahead and is not believed yet.
    private(set) var distrustedMs: Int64 = 0
    private var believedAtMs: Int64 = 0

    init(wallMs: Int64, monotonicNs: UInt64) {
        self.wallMs = wallMs
        monotonicMs = Int64(clamping: monotonicNs / 1_000_000)
    }

    /// The time to judge by, and how far the clock was found to have jumped since the last call (0: it did not).
    mutating func now(wallMs: Int64, monotonicNs: UInt64) -> (judgedMs: Int64, jumpMs: Int64) {
        let monotonicMs = Int64(clamping: monotonicNs / 1_000_000)
        let passed = wallMs.subtractingReportingOverflow(self.wallMs).partialValue
        let ahead = passed - (monotonicMs - self.monotonicMs)
        self.wallMs = wallMs
        self.monotonicMs = monotonicMs
        var jump: Int64 = 0
        if ahead > Self.toleranceMs {
            jump = ahead
            distrustedMs += ahead
            believedAtMs = monotonicMs + Self.graceMs
        } else if ahead < -Self.toleranceMs {
            distrustedMs = max(0, distrustedMs + ahead)
        }
        if monotonicMs >= believedAtMs { distrustedMs = 0 }
        return (wallMs - distrustedMs, jump)
    }
}
