// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: counts what one loop's connections do, and decides when they stop.
//
// Owned by its loop; only `progress` may be read from elsewhere. It is done when it was told to
// stop, or its share of records is used up, and nothing is on its way any more; or when something
// went wrong.
//
//   idle -> running -> draining -> done

import NIOCore
import Synchronization

/// What has been counted so far; for showing progress. Safe to read from any thread.
package final class LoadProgress: Sendable {
    let records = Atomic<Int>(0)
    let bytes = Atomic<Int>(0)
}

/// What one loop counted.
struct LoadCounts: Sendable {
    var requests = 0
    var records = 0
    var bytes = 0
    /// Answers that are errors, and the first of them.
    var refusals = 0
    var firstRefusal: String?
    /// Offsets left out between records that should follow each other.
    var gaps = 0
    var latencies = LatencyHistogram()
    /// When counting started and ended.
    var startNs: UInt64 = 0
    var endNs: UInt64 = 0
}

final class LoadRecorder {
    private enum State {
        case idle, running, draining, done
    }

    let progress: LoadProgress
    private(set) var counts = LoadCounts()
    private var state = State.idle
    private var outstanding = 0
    private var recordsLeft: Int
    private let finished: EventLoopPromise<LoadCounts>

    /// - Parameter records: this loop's share; `.max` for a run that ends by time.
    init(records: Int, progress: LoadProgress, finished: EventLoopPromise<LoadCounts>) {
        recordsLeft = records
        self.progress = progress
        self.finished = finished
    }

    /// Whether another request may be sent.
    var mayGoOn: Bool { state == .running }

    func start() {
        guard state == .idle else { return }
        state = .running
        counts.startNs = NIODeadline.now().uptimeNanoseconds
    }

    /// Forgets what was counted: the warm-up is over.
    func restartCounting() {
        guard state == .running else { return }
        counts = LoadCounts()
        counts.startNs = NIODeadline.now().uptimeNanoseconds
    }

    /// Counting ends; the recorder is done when nothing is on its way.
    func stop() {
        guard state == .running || state == .idle else { return }
        counts.endNs = NIODeadline.now().uptimeNanoseconds
        state = .draining
        finishIfDrained()
    }

    /// Something went wrong that the run does not survive.
    func fail(_ error: ClientError) {
        guard state != .done else { return }
        state = .done
        finished.fail(error)
    }

    /// A connection is about to send a request with this many records (0: not known yet).
    func began(records: Int = 0) {
        outstanding += 1
        use(records)
    }

    /// A request was answered.
    @inline(__always) func ended(records: Int, bytes: Int, startedNs: UInt64, nowNs: UInt64) {
        outstanding -= 1
        if state == .running || counts.endNs == 0 {
            counts.requests += 1
            counts.latencies.record(nowNs &- startedNs)
            add(records: records, bytes: bytes)
        }
        if state != .running { finishIfDrained(nowNs) }
    }

    /// Records came without a request of their own; false: it is enough.
    func received(records: Int, bytes: Int) -> Bool {
        guard state == .running else { return false }
        counts.requests += 1
        add(records: records, bytes: bytes)
        use(records)
        return state == .running
    }

    /// Records that arrived in answer to a request are used up.
    @inline(__always) func use(_ records: Int) {
        guard recordsLeft != .max else { return }
        recordsLeft -= records
        guard recordsLeft <= 0 && state == .running else { return }
        state = .draining
        finishIfDrained()
    }

    /// An answer that is an error.
    func refused(_ reason: @autoclosure () -> String) {
        counts.refusals += 1
        if counts.firstRefusal == nil { counts.firstRefusal = reason() }
    }

    func missed(_ offsets: Int) {
        counts.gaps += offsets
    }

    @inline(__always) private func add(records: Int, bytes: Int) {
        counts.records += records
        counts.bytes += bytes
        // Only this loop writes, so that a load and a store do instead of a locked addition.
        let seenRecords = progress.records.load(ordering: .relaxed)
        progress.records.store(seenRecords + records, ordering: .relaxed)
        let seenBytes = progress.bytes.load(ordering: .relaxed)
        progress.bytes.store(seenBytes + bytes, ordering: .relaxed)
    }

    private func finishIfDrained(_ nowNs: UInt64? = nil) {
        guard state == .draining, outstanding <= 0 else { return }
        state = .done
        if counts.endNs == 0 { counts.endNs = nowNs ?? NIODeadline.now().uptimeNanoseconds }
        finished.succeed(counts)
    }
}
