// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what goes on under the names of users who logged in with a password, to be ended when they are removed.
//
// Safe to use from any thread; one lock, never held across a callback. There are no more entries than connections and streams.

import NIOConcurrencyHelpers
import NIOCore

package final class UserSessions: Sendable {
    /// Of one connection or stream; for leaving.
    package struct Ticket: Sendable {
        fileprivate var user: String
        fileprivate var id: UInt64
    }

    private struct Session: Sendable {
        var loop: any EventLoop
        var end: @Sendable () -> Void
    }

    private struct State {
        var byUser: [String: [UInt64: Session]] = [:]
        var lastId: UInt64 = 0
    }

    private let state = NIOLockedValueBox(State())

    init() {}

    /// From now on `end` runs on `loop` if the user is removed, until the ticket is given back. Ask afterwards whether the
    /// user is still there.
    package func enter(_ user: String, on loop: any EventLoop, end: @escaping @Sendable () -> Void) -> Ticket {
        state.withLockedValue { state in
            state.lastId += 1
            state.byUser[user, default: [:]][state.lastId] = Session(loop: loop, end: end)
            return Ticket(user: user, id: state.lastId)
        }
    }

    package func leave(_ ticket: Ticket) {
        state.withLockedValue { state in
            state.byUser[ticket.user]?[ticket.id] = nil
            if state.byUser[ticket.user]?.isEmpty == true { state.byUser[ticket.user] = nil }
        }
    }

    package var count: Int { state.withLockedValue { $0.byUser.values.reduce(0) { $0 + $1.count } } }

    /// Ends all of them, a few at a time on `loop`.
    func end(_ users: [String], on loop: any EventLoop) {
        let ended = state.withLockedValue { state in users.flatMap { state.byUser[$0].map { Array($0.values) } ?? [] } }
        end(ended[...], loop)
    }

    private func end(_ sessions: ArraySlice<Session>, _ loop: any EventLoop) {
        for session in sessions.prefix(Limits.sessionsEndedAtOnce) { session.loop.execute(session.end) }
        let rest = sessions.dropFirst(Limits.sessionsEndedAtOnce)
        guard !rest.isEmpty else { return }
        loop.execute { self.end(rest, loop) }
    }
}
