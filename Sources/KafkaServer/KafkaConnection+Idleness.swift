// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ends connections that nobody uses, and those that do not say who they are.
//
//   opened --no login within `Limits.loginDeadline`--> closed        used --nothing for `connections.max.idle.ms`--> closed
//
// One timer a connection, which looks when it was last used: a request costs nothing for it. A connection whose request waits, for
// records or for the other members of its group, is used.

import Bytes
import Engine
import NIOCore

extension KafkaConnection {
    func watchIdleness() {
        lastUsedNs = server.engine.clock.monotonicNs()
        scheduleIdleCheck(inMs: login.isOver ? server.maxIdleMs : min(Limits.loginDeadlineMs, server.maxIdleMs))
    }

    private func scheduleIdleCheck(inMs ms: Int64) {
        // Not weak: that would make every use of the connection dearer. It is cancelled when the connection ends.
        idleCheck = loop.scheduleTask(in: .milliseconds(ms)) { self.checkIdleness() }
    }

    private func checkIdleness() {
        let nowNs = server.engine.clock.monotonicNs()
        let idleMs = Int64((nowNs &- lastUsedNs) / 1_000_000)
        guard login.isOver || hasLoggedIn else {
            return close("no login within \(Limits.loginDeadlineMs / 1000) s; set security.protocol and sasl.mechanism of the client")
        }
        if isBusy {
            scheduleIdleCheck(inMs: server.maxIdleMs)
        } else if idleMs >= server.maxIdleMs {
            endIdle()
        } else {
            scheduleIdleCheck(inMs: server.maxIdleMs - idleMs)
        }
    }
}
