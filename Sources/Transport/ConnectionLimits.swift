// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: how many connections there may be, in all and from one address, over all listeners.
//
// Asked when a connection was accepted and told when it is gone. Who is refused may be told so in its protocol, or is kept waiting for
// a moment; of those there are few at a time, any beyond are closed without a word. Safe to use from any thread; one
// mutex, nothing is called while it is held.

import Synchronization

package final class ConnectionLimits: Sendable {
    package struct Rules: Sendable, Equatable {
        /// `max.connections`
        package var connectionsMax = 10_000
        /// `max.connections.per.ip`
        package var perAddressMax = Int.max
        /// `max.connections.per.ip.overrides`
        package var perAddress: [String: Int] = [:]
        /// Of those that are refused, how many may be kept to be told so.
        package var refusedAtOnceMax = 64

        package init() {}
    }

    /// What stopped a connection; the names are those of the settings and of the quota.
    package enum Limit: String, Sendable, CaseIterable {
        case connections = "max.connections"
        case perAddress = "max.connections.per.ip"
        case addressRate = "connection_creation_rate"
        /// Accepted all the same, later.
        case listenerRate = "max.connection.creation.rate"
    }

    enum Verdict: Sendable, Equatable {
        case admitted
        case refused(Refusal)
        /// Closed after so many ms.
        case delayed(ms: Int32)
        case dropped(Refusal)
    }

    private struct State {
        var admitted = 0
        var refused = 0
        var byAddress: [String: Int] = [:]
        var limited: [Limit: Int] = [:]
    }

    private let rules: Rules
    /// How long a connection from this address is kept waiting before it is closed; 0: it is welcome.
    private let addressDelayMs: @Sendable (String) -> Int32
    private let state = Mutex(State())

    package init(_ rules: Rules, addressDelayMs: @escaping @Sendable (String) -> Int32 = { _ in 0 }) {
        self.rules = rules
        self.addressDelayMs = addressDelayMs
    }

    /// How often each limit has stopped somebody.
    package var limited: [Limit: Int] { state.withLock { $0.limited } }

    /// A connection has come. Whatever the verdict, `leave` must follow with it, except after `dropped`.
    func enter(_ address: String) -> Verdict {
        // Counted before anything else, as in Kafka: refusing costs too.
        let delayMs = addressDelayMs(address)
        return state.withLock { state in
            let limit = rules.perAddress[address] ?? rules.perAddressMax
            if state.byAddress[address, default: 0] >= limit {
                return turnAway(.tooManyFromAddress(address, max: limit), .perAddress, &state)
            }
            if state.admitted >= rules.connectionsMax {
                return turnAway(.tooManyConnections(max: rules.connectionsMax), .connections, &state)
            }
            if delayMs > 0 {
                let verdict = turnAway(.tooManyFromAddress(address, max: 0), .addressRate, &state)
                if case .refused = verdict { return .delayed(ms: delayMs) }
                return verdict
            }
            state.admitted += 1
            state.byAddress[address, default: 0] += 1
            return .admitted
        }
    }

    func leave(_ address: String, _ verdict: Verdict) {
        state.withLock { state in
            switch verdict {
            case .dropped: break
            case .refused, .delayed: state.refused -= 1
            case .admitted:
                state.admitted -= 1
                let left = state.byAddress[address, default: 1] - 1
                state.byAddress[address] = left > 0 ? left : nil
            }
        }
    }

    /// A listener accepts more slowly.
    func paced() { state.withLock { $0.limited[.listenerRate, default: 0] += 1 } }

    private func turnAway(_ refusal: Refusal, _ limit: Limit, _ state: inout State) -> Verdict {
        state.limited[limit, default: 0] += 1
        guard state.refused < rules.refusedAtOnceMax else { return .dropped(refusal) }
        state.refused += 1
        return .refused(refusal)
    }
}
