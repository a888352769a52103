// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: ends the calls of one connection at their deadlines.
//
// One timer a connection, at its earliest deadline: most calls end long before theirs, and none costs a timer. Confined to the
// connection's loop.

import NIOCore

final class CallDeadlines: @unchecked Sendable {
    // Unchecked: see above; the timer runs on the loop too.
    private let loop: any EventLoop
    private let openCalls: () -> [GRPCCall]
    private var timer: (at: NIODeadline, task: Scheduled<Void>)?

    init(_ loop: any EventLoop, openCalls: @escaping () -> [GRPCCall]) {
        self.loop = loop
        self.openCalls = openCalls
    }

    /// A call that ends then, unless it has before.
    func watch(_ deadline: NIODeadline) {
        if let timer, timer.at <= deadline { return }
        timer?.task.cancel()
        timer = (deadline, loop.scheduleTask(deadline: deadline) { self.expireCalls() })
    }

    /// The connection is gone.
    func cancel() {
        timer?.task.cancel()
        timer = nil
    }

    private func expireCalls() {
        timer = nil
        let now = loop.now
        var next: NIODeadline?
        for call in openCalls() where !call.hasEnded {
            guard let deadline = call.deadline else { continue }
            if deadline <= now { call.expire() } else { next = min(next ?? deadline, deadline) }
        }
        if let next { watch(next) }
    }
}
