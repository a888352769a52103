// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how much somebody did lately, and how long it takes until that is within a quota.
//
// Kafka's model: the sum over the last `count` windows of `windowMs`, the current one included, divided by the time
// that they cover. `MutationBucket` is the other one (KIP-599): tokens that come at the rate of the quota. Pure values;
// time comes with each call and may stand still, but does not go back.

package struct QuotaWindows: Equatable, Sendable {
    /// `quota.window.num`
    package var count = 11
    /// `quota.window.size.seconds`, in ms.
    package var windowMs: Int64 = 1000

    package init() {}

    /// Nobody waits for longer: after that, all that was counted is forgotten.
    var throttleMsMax: Int64 { Int64(count) * windowMs }
}

struct QuotaWindow {
    private var amounts: [Double]
    /// The number of the current window since time began.
    private var current: Int64 = 0
    private let windows: QuotaWindows

    init(_ windows: QuotaWindows) {
        self.windows = windows
        amounts = Array(repeating: 0, count: windows.count)
    }

    mutating func add(_ amount: Double, nowMs: Int64) {
        move(to: nowMs)
        let index = Int(current % Int64(windows.count))
        // What is taken back may have been counted in a window that is gone.
        amounts[index] = max(0, amounts[index] + amount)
    }

    mutating func sum(nowMs: Int64) -> Double {
        move(to: nowMs)
        return amounts.reduce(0, +)
    }

    /// For how long nothing may be added for the rate to be within `limit` a second; 0: it is.
    mutating func throttleMs(limit: Double, nowMs: Int64) -> Int64 {
        let excess = sum(nowMs: nowMs) / limit * 1000 - Double(lengthMs(nowMs))
        return excess > 0 ? Int64(min(Double(windows.throttleMsMax), excess.rounded())) : 0
    }

    /// What the windows cover: all but the current one in full.
    private func lengthMs(_ nowMs: Int64) -> Int64 {
        Int64(windows.count - 1) * windows.windowMs + nowMs % windows.windowMs
    }

    private mutating func move(to nowMs: Int64) {
        let now = nowMs / windows.windowMs
        guard now > current else { return }
        if now - current >= Int64(windows.count) {
            for index in amounts.indices { amounts[index] = 0 }
        } else {
            for number in (current + 1)...now { amounts[Int(number % Int64(windows.count))] = 0 }
        }
        current = now
    }
}

/// Begins full, with what the quota allows in all windows together; may be overdrawn once.
struct MutationBucket {
    private var tokens: Double
    private var filledMs: Int64
    private let windows: QuotaWindows

    init(_ windows: QuotaWindows, limit: Double, nowMs: Int64) {
        self.windows = windows
        tokens = Self.burst(windows, limit)
        filledMs = nowMs
    }

    private static func burst(_ windows: QuotaWindows, _ limit: Double) -> Double {
        limit * Double(windows.count) * Double(windows.windowMs) / 1000
    }

    mutating func take(_ count: Double, limit: Double, nowMs: Int64) {
        fill(limit, nowMs)
        tokens -= count
    }

    /// Until nothing is owed.
    mutating func throttleMs(limit: Double, nowMs: Int64) -> Int64 {
        fill(limit, nowMs)
        return tokens < 0 ? Int64(min((-tokens / limit * 1000).rounded(.up), Double(Int32.max))) : 0
    }

    private mutating func fill(_ limit: Double, _ nowMs: Int64) {
        tokens = min(Self.burst(windows, limit), tokens + limit * Double(nowMs - filledMs) / 1000)
        filledMs = nowMs
    }
}
