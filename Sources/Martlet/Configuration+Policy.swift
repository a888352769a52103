// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the external policy: the client that asks it, and what the doctor thinks of its settings.

import NIOCore
import PolicyClient
import Transport

extension Configuration.Policy {
    var address: PolicyAddress? { url.flatMap { PolicyAddress($0) } }

    /// nil: it is shown none.
    func token() throws(BrokerError) -> PolicyToken? {
        guard url != nil, let tokenFile else { return nil }
        return try PolicyToken(tokenFile)
    }

    /// nil: its certificate is not checked against a file.
    var watchedAuthority: PolicyAuthority? {
        guard let address, address.isTLS else { return nil }
        return authority.map { PolicyAuthority($0) }
    }

    /// nil: there is none.
    func client(on loop: any EventLoop, token: String?) throws(BrokerError) -> PolicyClient? {
        guard let url else { return nil }
        guard let address else { throw BrokerError("authorizer.opa.url cannot be used: \(url)") }
        do throws(TransportError) {
            return try PolicyClient(address, timeoutMs: timeoutMs, authorityFile: authority, token: token, on: loop)
        } catch {
            throw BrokerError("authorizer.opa.url: \(error.message)")
        }
    }
}

extension Doctor {
    private mutating func examineToken(_ policy: Configuration.Policy, _ address: PolicyAddress) {
        guard let file = policy.tokenFile else { return }
        let setting = "authorizer.opa.token.file"
        do throws(BrokerError) {
            _ = try PolicyToken.read(file)
        } catch {
            add("policy-token-unusable", .error, error.description, setting: setting, next: "a file with the token in its first line")
        }
        if let status = FileStatus(file), status.mode & 0o044 != 0 {
            let isWorld = status.mode & 0o004 != 0
            add(
                "policy-token-readable-by-others", isWorld ? .error : .warning,
                "\(isWorld ? "everybody" : "its group") may read the policy's token in \(file) (mode \(status.octal))",
                setting: setting, next: "chmod \(isWorld ? "0600" : "0600, unless the group is the broker's own,") \(file)")
        }
        if let host = address.hostInPlaintext {
            add(
                "policy-token-in-plaintext", .error, "the policy's token is sent without TLS to \(host): whoever is on the way has it",
                setting: "authorizer.opa.url", next: "https, or a policy agent on this machine")
        }
    }

    mutating func examinePolicy() {
        let policy = configuration.policy
        guard let address = policy.address else {
            let unused = [("authorizer.opa.tls.ca", policy.authority), ("authorizer.opa.token.file", policy.tokenFile)]
            for (setting, value) in unused where policy.url == nil && value != nil {
                add(
                    "policy-not-used", .note, "there is no external policy that \(setting) could be for",
                    setting: "authorizer.opa.url", next: "its URL, or remove \(setting)")
            }
            return
        }
        examineToken(policy, address)
        if let host = address.hostInPlaintext {
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

extension PolicyAddress {
    /// Another machine, if it is asked without TLS.
    fileprivate var hostInPlaintext: String? {
        guard !isTLS, case .host(let host, _) = place, host != "localhost", !isLoopback(host) else { return nil }
        return host
    }
}
