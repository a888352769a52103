// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: what a broker says when it is ready: where it is, what it promises, and commands to paste.

import Martlet

enum Banner {
    static func text(for broker: Broker) -> String {
        let configuration = broker.configuration
        var lines = ["Martlet \(Version.current) is ready on \(broker.addresses.map(\.description).joined(separator: ", "))", ""]
        lines.append("  durability   \(meaning(of: configuration.effectiveDurability))")
        lines.append("  access       \(access(broker))")
        lines += clients(configuration)
        lines.append("  data         \(broker.dataDirectory ?? "in memory; gone when the broker stops")")
        if let certificates = broker.certificates { lines.append("  certificates \(certificates.directory)") }
        lines += ["", "Try it from another terminal:", ""]
        lines += commands(broker).map { "  # \($0.title)\n  \($0.line)" }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Whom each listener lets in, where that is not the default.
    private static func clients(_ configuration: Configuration) -> [String] {
        let policies = configuration.listenerPolicies
        guard policies.contains(where: { $0.address.name != nil || !$0.saslMechanisms.isEmpty }) else { return [] }
        var seen: [String] = []
        for policy in policies {
            let label = (policy.address.name ?? "clients").padding(to: 12)
            let line = "  \(label) \(policy.words)"
            if !seen.contains(line) { seen.append(line) }
        }
        return seen
    }

    private static func access(_ broker: Broker) -> String {
        if let url = broker.configuration.policy.url {
            return "by the external policy at \(url); what it does not allow is denied, except to super.users"
        }
        let isFree = broker.configuration.allowsEveryoneWithoutRule
        let count = broker.accessRuleCount
        guard count > 0 else {
            let then = isFree ? "what an access rule speaks of is for those whom it allows" : "the first access rule closes the broker"
            let whoever = broker.configuration.listenerPolicies.contains { $0.saslMechanisms.isEmpty } ? "everybody" : "whoever logs in or shows a certificate"
            return "open: there are no access rules, \(whoever) may do everything; \(then)"
        }
        let rules = count == 1 ? "1 access rule" : "\(count) access rules"
        return isFree
            ? "by \(rules); what none of them speaks of is free (allow.everyone.if.no.acl.found)"
            : "by \(rules); what none of them allows is denied, except to super.users"
    }

    private static func meaning(of durability: Configuration.Durability) -> String {
        switch durability {
        case .disk: "disk: a record acked with acks=all is on stable storage"
        case .os: "os: acked records survive the broker, not a power cut"
        case .memory: "memory: acked records survive nothing"
        }
    }

    private static func commands(_ broker: Broker) -> [(title: String, line: String)] {
        let address = broker.address
        var commands: [(String, String)] = []
        let policy = broker.configuration.listenerPolicies[0]
        if policy.plaintext != .never, !policy.saslMechanisms.isEmpty {
            commands += logins(address, policy.saslMechanisms)
        } else if policy.plaintext != .never {
            commands += [
                ("Kafka", "kcat -b \(address) -L"),
                ("gRPC", "grpcurl -plaintext \(address) list"),
                ("health and metrics", "curl http://\(address)/readyz http://\(address)/metrics"),
            ]
        }
        guard let certificates = broker.certificates else { return commands }
        let (ca, cert, key) = (
            quoted(certificates.authority), quoted(certificates.certificate), quoted(certificates.key)
        )
        if policy.wantsLoginOverTLS {
            let pair = policy.clientAuthentication == .required ? " --cert \(cert) --key \(key)" : ""
            let flags = "--bootstrap \(address) --ca \(ca)\(pair) --user admin"
            return commands + [
                ("Kafka over TLS, logged in", "martlet topic list \(flags)"),
                ("gRPC over TLS, logged in", "martlet subscribe TOPIC \(flags)"),
            ]
        }
        if policy.clientAuthentication == .none {
            return commands + [
                ("Kafka over TLS", "kcat -b \(address) -X security.protocol=SSL -X ssl.ca.location=\(ca) -L"),
                ("gRPC over TLS", "grpcurl -cacert \(ca) \(address) list"),
            ]
        }
        commands += [
            (
                "Kafka over mutual TLS",
                "kcat -b \(address) -X security.protocol=SSL -X ssl.ca.location=\(ca) "
                    + "-X ssl.certificate.location=\(cert) -X ssl.key.location=\(key) -L"
            ),
            ("gRPC over mutual TLS", "grpcurl -cacert \(ca) -cert \(cert) -key \(key) \(address) list"),
        ]
        return commands
    }

    /// Where everybody has to log in, without TLS.
    private static func logins(
        _ address: Address, _ mechanisms: [Configuration.SASLMechanism]
    ) -> [(title: String, line: String)] {
        var commands: [(String, String)] = []
        if mechanisms.contains(where: { $0 != .oauthBearer }) {
            commands += [
                ("the first user, from this machine", "martlet user add admin --bootstrap \(address)"),
                ("Kafka, logged in", "martlet topic list --bootstrap \(address) --user admin"),
                ("gRPC, logged in", "martlet subscribe TOPIC --bootstrap \(address) --user admin"),
            ]
        }
        return commands + [("health and metrics", "curl http://\(address)/readyz http://\(address)/metrics")]
    }

    /// For a shell, when the path needs it.
    private static func quoted(_ path: String) -> String {
        let isPlain = path.utf8.allSatisfy { byte in
            switch byte {
            case 48...57, 65...90, 97...122, 0x2d...0x2f, 0x5f: true
            default: false
            }
        }
        return isPlain ? path : "'" + path.replacing("'", with: "'\\''") + "'"
    }
}

extension ListenerPolicy {
    /// Whether a certificate is not enough to get in.
    fileprivate var wantsLoginOverTLS: Bool { !saslMechanisms.isEmpty && (wantsLoginOfAll || clientAuthentication == .none) }

    /// Whom it lets in.
    fileprivate var words: String {
        let tls =
            switch clientAuthentication {
            case .required: "TLS with a certificate"
            case .requested: "TLS, with a certificate or without"
            case .none: "TLS"
            }
        let plain =
            switch plaintext {
            case .never: ""
            case .loopback: ", plaintext from this machine"
            case .anywhere: ", plaintext from everywhere"
            }
        guard !saslMechanisms.isEmpty else { return "\(tls)\(plain); no login" }
        let names = saslMechanisms.map(\.rawValue).joined(separator: ", ")
        let whom = wantsLoginOverTLS ? "of all" : "of those without a certificate"
        return "\(tls)\(plain); a login \(whom): \(names)"
    }
}

extension String {
    fileprivate func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
