// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the doctor looks at whom each listener lets in.

extension Doctor {
    /// A listener that others than this machine can get at.
    mutating func examineExposure(of policy: ListenerPolicy) {
        if policy.plaintext == .anywhere {
            add(
                "plaintext-exposed", .error,
                "connections without TLS are accepted from everywhere: what is sent can be read and changed on its way",
                policy, policy.rules.plaintext == nil, "plaintext", next: "loopback")
            if policy.saslMechanisms.contains(.plain) {
                add(
                    "password-in-plaintext", .error, "SASL PLAIN sends the password itself, and TLS is not required",
                    policy, policy.rules.saslMechanisms == nil, "sasl.enabled.mechanisms",
                    next: "SCRAM-SHA-256, and `plaintext: loopback`")
            }
        }
        if policy.clientAuthentication != .required, policy.saslMechanisms.isEmpty {
            let what = "clients need neither a certificate nor a password: they are User:ANONYMOUS"
            // Of two that let everybody in, the one that this listener has of its own.
            if policy.rules.saslMechanisms != nil, policy.rules.clientAuthentication == nil {
                add(
                    "nobody-is-asked", .error, what, policy, false, "sasl.enabled.mechanisms",
                    next: "SCRAM-SHA-256; or set tls.client.auth: required")
            } else {
                add(
                    "nobody-is-asked", .error, what, policy, policy.rules.clientAuthentication == nil, "tls.client.auth",
                    next: "required; or set sasl.enabled.mechanisms: SCRAM-SHA-256")
            }
        }
        // Whoever writes `always` has chosen both.
        if policy.clientAuthentication == .required, !policy.saslMechanisms.isEmpty, policy.saslRequired == .auto,
            policy.plaintext != .anywhere
        {
            let what = "who logs in with a password or a token must have a client certificate as well: without one the TLS handshake fails"
            if let name = policy.address.name, policy.rules.saslMechanisms != nil, policy.rules.clientAuthentication == nil {
                add(
                    "login-needs-certificate", .warning, what, policy, false, "sasl.enabled.mechanisms",
                    next: "with `\(ListenerSettings.prefix)\(name).tls.client.auth: requested` either will do; "
                        + "with `sasl.required: always` beside it clients are to have both")
            } else {
                add(
                    "login-needs-certificate", .warning, what, policy, policy.rules.clientAuthentication == nil, "tls.client.auth",
                    next: "requested, so that either will do; `sasl.required: always` if clients are to have both")
            }
        }
    }

    /// What has less effect than it seems.
    mutating func examineLogins(_ policy: ListenerPolicy) {
        guard !policy.saslMechanisms.isEmpty, policy.clientAuthentication == .required, !policy.wantsLoginOfAll else { return }
        add(
            "login-not-needed", .note, "every client over TLS has a certificate, and so none has to log in",
            policy, policy.rules.saslRequired == nil, "sasl.required", next: "auto, if both are wanted")
    }

    /// `isCommon`: it was set for all listeners.
    private mutating func add(
        _ id: String, _ severity: DoctorFinding.Severity, _ what: String, _ policy: ListenerPolicy, _ isCommon: Bool,
        _ setting: String, next: String
    ) {
        guard !isCommon, let name = policy.address.name else { return add(id, severity, what, setting: setting, next: next) }
        add(
            id, severity, "on the listener \(name): \(what)", setting: "\(ListenerSettings.prefix)\(name).\(setting)", next: next)
    }
}
