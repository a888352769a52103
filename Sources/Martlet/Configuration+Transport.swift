// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what the user's words mean to the transport and to the edges.

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
        rules.perAddress = maxConnectionsByAddress
        return rules
    }

    var login: LoginConfiguration {
        LoginConfiguration(
            mechanisms: saslMechanisms.compactMap { SaslMechanism(rawValue: $0.rawValue) },
            maxReauthMs: maxReauthenticationMs)
    }
}
