// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what the user's words mean to the transport and to the edges.

import Bytes
import Engine
import GRPCServer
import KafkaServer
import Security
import Telemetry
import Transport

extension Configuration.Plaintext {
    var policy: PlaintextPolicy {
        switch self {
        case .never: .off
        case .loopback: .loopbackOnly
        case .anywhere: .allowed
        }
    }
}

extension Configuration.ClientAuthentication {
    var transport: Transport.ClientAuthentication {
        switch self {
        case .required: .required
        case .requested: .requested
        case .none: .none
        }
    }
}

extension Address {
    /// The same, for a client on this machine: a broker that listens everywhere is reached by loopback.
    var reachable: Address {
        switch host {
        case "*", "::", "0.0.0.0": Address(host: "127.0.0.1", port: port)
        default: self
        }
    }
}

extension ConnectionContext {
    var auditSubject: AuditSubject {
        AuditSubject(
            principal: principal, address: remoteAddress, port: remotePort, wire: "tls", listener: listenerName)
    }
}

extension Configuration {
    var connectionRules: ConnectionLimits.Rules {
        var rules = ConnectionLimits.Rules()
        rules.connectionsMax = DescriptorShares(self).connections
        rules.perAddressMax = maxConnectionsPerAddress
        for (address, count) in maxConnectionsByAddress {
            let address = AddressText.canonical(address) ?? address
            // Whoever says it twice means the stricter one.
            rules.perAddress[address] = min(count, rules.perAddress[address] ?? .max)
        }
        return rules
    }

    /// Who the owner of a certificate is, for all listeners and both protocols.
    var principal: PrincipalChoice {
        get throws(BrokerError) {
            let mapping: PrincipalMapping
            do {
                mapping = try PrincipalMapping(
                    sources: principalSources.compactMap { CertificateNameKind(rawValue: $0.rawValue) },
                    rules: principalRules)
            } catch {
                throw BrokerError("`ssl.principal.mapping.rules` cannot be used: \(error)")
            }
            return { certificate in
                do throws(PrincipalMapping.Nobody) {
                    return .success(try mapping.principal(of: certificate.names))
                } catch {
                    return .failure(NoPrincipal(error.description))
                }
            }
        }
    }

    /// Which web pages may use the broker.
    var web: WebOptions {
        WebOptions(
            allowedOrigins: corsAllowedOrigins, hosts: (listen + (advertise.map { [$0] } ?? [])).map(\.host))
    }

    /// What gRPC calls may log in with.
    var callLogins: ByListener<GRPCLogins> {
        byListener { policy in
            GRPCLogins(
                passwords: policy.saslMechanisms.contains { $0 != .oauthBearer },
                tokens: policy.saslMechanisms.contains(.oauthBearer), areForAll: policy.wantsLoginOfAll)
        }
    }

    var logins: ByListener<LoginConfiguration> {
        // One secret, or a name that there is not would be known by its salt, which differed between listeners.
        let common = LoginConfiguration(maxReauthMs: maxReauthenticationMs)
        return byListener { policy in
            var login = common
            login.mechanisms = policy.saslMechanisms.compactMap { SaslMechanism(rawValue: $0.rawValue) }
            login.isForAll = policy.wantsLoginOfAll
            return login
        }
    }

    private func byListener<Value: Sendable>(_ value: (ListenerPolicy) -> Value) -> ByListener<Value> {
        let policies = listenerPolicies
        let own = policies.compactMap { policy in policy.address.name.map { ($0, value(policy)) } }
        let common = policies.first { $0.address.name == nil } ?? policies.first
        guard let common else { preconditionFailure("a broker listens somewhere") }
        return ByListener(value(common), own: Dictionary(own) { $1 })
    }
}

extension PeerCertificate {
    package var names: CertificateNames {
        var names = CertificateNames(subject: subject, commonName: commonName)
        for name in alternativeNames {
            switch name {
            case .dns(let text): names.hosts.append(text)
            case .uri(let text): names.uris.append(text)
            case .email(let text): names.emails.append(text)
            case .address: break
            }
        }
        return names
    }
}
