// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the event loop's time that one call takes, where there is a quota of it (`request_percentage`).
//
//   free --its caller has taken too much--> held --timer--> asked again --too much still--> held
//                                                                      '------------------> free
//
// Counted is what a call does by itself: its requests read and handled, its deliveries, its answer made. What the calls of a turn
// share is nobody's: appending what they publish, and HTTP/2's output. A call that is held has not begun, or takes no more requests
// and delivers nothing, so HTTP/2's window stops the caller; the other calls of its connection go on. Nobody is held for longer
// than what was used is remembered. Made only while there is such a quota. Confined to the call's loop.

import Bytes
import Engine
import GRPCWire
import NIOCore

final class CallTime {
    private unowned let call: GRPCCall
    private var isMeasuring = false
    private var timer: Scheduled<Void>?
    private var heldSince = NIODeadline.uptimeNanoseconds(0)
    /// What goes on then; nil: the stream.
    private var body: ((_ isFree: Bool) -> Void)?

    init(_ call: GRPCCall) {
        self.call = call
    }

    private var quotas: ClientQuotas { call.engine.quotas }
    var isHeld: Bool { timer != nil }

    /// Runs a part of the call. A part of a part is counted with it.
    func measure<Outcome>(_ part: () -> Outcome) -> Outcome {
        guard !isMeasuring else { return part() }
        isMeasuring = true
        let startedNs = call.engine.clock.monotonicNs()
        defer {
            isMeasuring = false
            count(call.engine.clock.monotonicNs() &- startedNs)
        }
        return part()
    }

    private func count(_ tookNs: UInt64) {
        // Of what has one answer, that answer is not kept back: the next call is.
        if call.hasEnded || isHeld || call.route.method.kind == .unary {
            quotas.note(call.quotaClient, timeNs: tookNs)
        } else {
            hold(forMs: quotas.charge(call.quotaClient, timeNs: tookNs))
        }
    }

    /// Runs `body` when the caller may take more time, or when the call ends before that. Returns for how many ms it waits at first.
    func whenFree(_ body: @escaping (_ isFree: Bool) -> Void) -> Int32 {
        let throttleMs = quotas.charge(call.quotaClient, timeNs: 0)
        hold(forMs: throttleMs)
        if isHeld { self.body = body } else { body(true) }
        return throttleMs
    }

    private func hold(forMs throttleMs: Int32) {
        guard throttleMs > 0 else { return }
        heldSince = call.loop.now
        wait(throttleMs)
    }

    private func wait(_ throttleMs: Int32) {
        let bound = NIOLoopBound(self, eventLoop: call.loop)
        timer = call.loop.scheduleTask(in: .milliseconds(Int64(throttleMs))) { bound.value.askAgain() }
    }

    private func askAgain() {
        timer = nil
        // Others who share the quota may use it up for ever.
        if call.loop.now - heldSince < .milliseconds(quotas.throttleMsMax) {
            let throttleMs = quotas.charge(call.quotaClient, timeNs: 0)
            if throttleMs > 0 { return wait(throttleMs) }
        }
        if body == nil { call.goOn() } else { run(isFree: true) }
    }

    private func run(isFree: Bool) {
        guard let body else { return }
        self.body = nil
        body(isFree)
    }

    /// The call has ended.
    func end() {
        timer?.cancel()
        timer = nil
        run(isFree: false)
    }
}

extension GRPCCall {
    private var isLimitedInTime: Bool { engine.quotas.limitsTime && !route.isHealth && !hasEnded }

    /// The caller has taken too much of the loop's time: nothing more is done for it now.
    var isOverTime: Bool { time?.isHeld ?? false }

    private var limitedTime: CallTime {
        if let time { return time }
        let made = CallTime(self)
        time = made
        return made
    }

    /// Runs a part of the call; what it takes of the loop's time counts. Before it is known who calls, nothing does.
    func timed<Outcome>(_ part: () -> Outcome) -> Outcome {
        guard isOpen, isLimitedInTime else { return part() }
        return limitedTime.measure(part)
    }

    /// Runs `body`, the next part of a call with one answer, when its caller may take up time, or when the call has ended.
    func whenMayGoOn(_ body: @escaping () -> Void) {
        guard isLimitedInTime else { return body() }
        _ = limitedTime.whenFree { _ in self.timed(body) }
    }

    /// Begins the call by `body` when its caller may take up time; until then its requests are held. Refuses it if too many wait already.
    func whenMayBegin(_ body: @escaping () -> Void) {
        guard isLimitedInTime else { return body() }
        var held: HeldCall?
        let throttleMs = limitedTime.whenFree { isFree in
            held?.release()
            if isFree { body() }
        }
        guard isOverTime else { return }
        guard let place = HeldCall(connection) else { return fail(.tooManyHeld(principal, .requestPercentage, throttleMs)) }
        held = place
        requests.hold()
    }
}

/// The place of a call among those of its connection that wait because of a quota. They leave streams to others: one connection may
/// carry the calls of many users.
final class HeldCall {
    private var connection: (any CallOwner)?

    /// nil: as many as may wait do already.
    init?(_ connection: any CallOwner) {
        guard connection.heldCalls < Limits.heldCalls else { return nil }
        connection.heldCalls += 1
        self.connection = connection
    }

    func release() {
        connection?.heldCalls -= 1
        connection = nil
    }

    deinit { release() }
}

extension GRPCStatus {
    static func tooManyHeld(_ principal: String, _ quota: QuotaKey, _ throttleMs: Int32) -> GRPCStatus {
        GRPCStatus(
            .resourceExhausted, "QUOTA_EXCEEDED",
            [("retryAfterMs", "\(throttleMs)"), ("quota", quota.rawValue), ("limit", "\(Limits.heldCalls)")],
            retryMs: Int64(throttleMs),
            "\(principal) is over a quota, and \(Limits.heldCalls) calls of this connection wait already; try again in \(throttleMs) ms")
    }
}
