// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the external policy: the client that asks it, and what the doctor thinks of its settings.

import NIOCore
import PolicyClient
import Transport

extension Configuration.Policy {
    var address: PolicyAddress? { url.flatMap { PolicyAddress($0) } }

    /// nil: there is none.
    func client(on loop: any EventLoop) throws(BrokerError) -> PolicyClient? {
        guard let url else { return nil }
        guard let address else { throw BrokerError("authorizer.opa.url cannot be used: \(url)") }
        do throws(TransportError) {
            return try PolicyClient(address, timeoutMs: timeoutMs, authorityFile: authority, on: loop)
        } catch {
            throw BrokerError("authorizer.opa.url: \(error.message)")
        }
    }
}

extension Doctor {
    mutating func examinePolicy() {
        let policy = configuration.policy
        guard let address = policy.address else {
            if policy.url == nil, policy.authority != nil {
                add(
                    "policy-not-used", .note, "there is no external policy that the certificate of authorizer.opa.tls.ca could be of",
                    setting: "authorizer.opa.url", next: "its URL, or remove authorizer.opa.tls.ca")
            }
            return
        }
        if !address.isTLS, case .host(let host, _) = address.place, host != "localhost", !isLoopback(host) {
            add(
                "policy-in-plaintext", .warning,
                "the external policy is asked without TLS at \(host): whoever is on the way can allow everything",
                setting: "authorizer.opa.url", next: "https, or a policy agent on this machine")
        }
        if let file = policy.authority {
            do throws(TransportError) {
                _ = try TLSContext.client(TLSOptions(authorityFile: file))
            } catch {
                add("policy-ca-unusable", .error, error.message, setting: "authorizer.opa.tls.ca", next: "a PEM file with its CA")
            }
        }
        if configuration.allowsEveryoneWithoutRule {
            add(
                "policy-decides", .note, "allow.everyone.if.no.acl.found means nothing where an external policy decides",
                setting: "allow.everyone.if.no.acl.found", next: "nothing; or remove it")
        }
    }
}
