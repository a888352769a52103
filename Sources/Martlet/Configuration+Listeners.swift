// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what holds on each listener: what was set for it, or for all.

/// One listener with everything that was decided about its clients.
package struct ListenerPolicy: Equatable, Sendable {
    package var address: Address
    package var plaintext: Configuration.Plaintext
    package var clientAuthentication: Configuration.ClientAuthentication
    package var saslMechanisms: [Configuration.SASLMechanism]
    package var saslRequired: Configuration.SASLRequired
    /// What it has of its own.
    package var rules: Configuration.ListenerRules

    /// Whether a certificate does not stand for a login.
    package var wantsLoginOfAll: Bool {
        switch saslRequired {
        case .auto: clientAuthentication == .required
        case .always: true
        case .withoutCertificate: false
        }
    }
}

extension Configuration {
    /// A listener's own rules, by its name.
    subscript(listener name: String) -> ListenerRules {
        get { listenerRules[name] ?? ListenerRules() }
        set { listenerRules[name] = newValue == ListenerRules() ? nil : newValue }
    }

    /// `listen` with `port` applied.
    var listeners: [Address] {
        guard let port, let first = listen.first else { return listen }
        var moved = first
        moved.port = port
        return [moved] + listen.dropFirst()
    }

    /// The listeners, in order.
    package var listenerPolicies: [ListenerPolicy] {
        listeners.map { address in
            let rules = address.name.map { self[listener: $0] } ?? ListenerRules()
            return ListenerPolicy(
                address: address, plaintext: rules.plaintext ?? plaintext,
                clientAuthentication: rules.clientAuthentication ?? clientAuthentication,
                saslMechanisms: rules.saslMechanisms ?? saslMechanisms, saslRequired: rules.saslRequired ?? saslRequired,
                rules: rules)
        }
    }
}
