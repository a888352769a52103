// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: requests that wait for an external policy (docs/decisions/0024-external-policy.md).
//
// A request has no effect before all that it needs is decided, and meanwhile its connection begins no other one: later
// requests must not overtake it. What its answer may show is decided when that is known; then only the answer waits.

import Engine
import KafkaWire
import NIOCore
import Transport

extension KafkaConnection {
    var accessClient: AccessClient {
        AccessClient(
            principal: login.principal, host: peer.remoteAddress, listener: peer.listenerName, wire: "kafka",
            isTLS: peer.isTLS)
    }
}

extension Exchange {
    /// With its questions, if an external policy is to be asked.
    func inquiring() -> Exchange {
        var copy = self
        copy.inquiry = engine.access.inquiry(of: connection.accessClient, on: loop) { [connection] in !connection.isOver }
        return copy
    }

    /// Before a request begins. Runs `pass`, which asks what the client may do and does nothing else, until all is decided; then
    /// `then` with what it made, at once if nobody has to be asked. Not at all, if the connection ends before.
    func decided<Outcome>(_ pass: @escaping () -> Outcome, then: @escaping (Outcome) -> Void) {
        guard let inquiry else { return then(pass()) }
        connection.isDeciding = true
        inquiry.settle(pass) { outcome in
            if connection.isOpen(slot) { then(outcome) }
            connection.isDeciding = false
            connection.resume()
        }
    }

    /// The same for what a request that has begun may show; others begin meanwhile.
    func shown<Outcome>(_ pass: @escaping () -> Outcome, then: @escaping (Outcome) -> Void) {
        if let inquiry { inquiry.settle(pass, then: then) } else { then(pass()) }
    }

    /// The response as its amendment wants it.
    func amended<Response: KafkaResponse>(_ response: Response, then: @escaping (Response) -> Void) {
        guard let amendment else { return then(response) }
        shown({
            var response = response
            amendment.apply(to: &response)
            return response
        }, then: then)
    }
}
