// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: who calls, and what that principal may do: the same rules and passwords as over Kafka's
// protocol.
//
// A client with a certificate is who the certificate says, unless a call says otherwise. Where SASL is on, all others (or
// all, if a certificate does not stand for a login) have to give a name and a password, or a token, with each call
// (`authorization: Basic` or `Bearer`), over TLS or from this machine; only health checks are answered to anybody. A call
// ends with its token.

import Bytes
import Engine
import GRPCWire
import Logging
import Telemetry
import Transport

/// What callers may prove who they are with, other than a certificate, on a listener.
package struct GRPCLogins: Sendable {
    package var passwords: Bool
    package var tokens: Bool
    /// Callers with a certificate have to, too.
    package var areForAll: Bool

    package init(passwords: Bool = false, tokens: Bool = false, areForAll: Bool = false) {
        self.passwords = passwords
        self.tokens = tokens
        self.areForAll = areForAll
    }

    /// Clients without a certificate have to.
    var areRequired: Bool { passwords || tokens }

    /// In words.
    var wanted: String {
        let password = passwords ? ["a name and a password (authorization: Basic)"] : []
        return (password + (tokens ? ["a token (authorization: Bearer)"] : [])).joined(separator: " or ")
    }
}

/// What a call says about its caller.
enum CallCredentials {
    case password(BasicCredentials)
    case token(String)

    /// The first word of a header, as the audit log names it: of two that are known.
    static func scheme(_ authorization: String) -> String {
        let word = authorization.prefix { $0 != " " }.lowercased()
        return word == "basic" || word == "bearer" ? word : "authorization"
    }
}

/// A name and a password, as a call gives them.
struct BasicCredentials {
    var user: String
    var password: String

    /// nil: this is no `Basic` with a name and a password.
    init?(_ authorization: String) {
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "basic", let bytes = Base64.decode(Array(parts[1].utf8)),
            let text = String(validating: bytes, as: UTF8.self), let colon = text.firstIndex(of: ":"),
            colon > text.startIndex
        else { return nil }
        user = String(text[..<colon])
        password = String(text[text.index(after: colon)...])
    }
}

extension GRPCServer {
    /// Whether a caller has to say who it is before this method is served.
    func requiresLogin(_ peer: ConnectionContext, _ route: GRPCRoute, hasAuthorization: Bool) -> Bool {
        !route.isHealth && requiresLogin(peer, hasAuthorization: hasAuthorization)
    }

    func requiresLogin(_ peer: ConnectionContext, hasAuthorization: Bool) -> Bool {
        let logins = logins[peer.listenerName]
        return logins.areRequired && (logins.areForAll || peer.peerCertificate == nil || hasAuthorization)
    }

    /// Reads what a caller says about itself. Throws `UNAUTHENTICATED`.
    func credentials(_ authorization: String?, _ peer: ConnectionContext) throws(GRPCStatus) -> CallCredentials {
        let logins = logins[peer.listenerName]
        guard let authorization else {
            let certificate = logins.areForAll ? "" : ", or a client certificate"
            throw GRPCStatus(.unauthenticated, "LOGIN_REQUIRED", "this broker wants \(logins.wanted)\(certificate)")
        }
        guard peer.isTLS || isLoopback(peer.remoteAddress) else {
            throw GRPCStatus(
                .unauthenticated, "INSECURE_LOGIN", "passwords and tokens are taken over TLS only, or from this machine")
        }
        if logins.passwords, let credentials = BasicCredentials(authorization) { return .password(credentials) }
        if logins.tokens, let token = Self.token(authorization) { return .token(token) }
        throw GRPCStatus(.unauthenticated, "LOGIN_REQUIRED", "authorization is not what this broker wants: \(logins.wanted)")
    }

    private static func token(_ authorization: String) -> String? {
        let parts = authorization.split(separator: " ")
        return parts.count == 2 && parts[0].lowercased() == "bearer" ? String(parts[1]) : nil
    }
}

extension GRPCCall {
    var auditSubject: AuditSubject {
        AuditSubject(
            principal: principal, address: peer.remoteAddress, port: peer.remotePort, wire: "grpc",
            listener: peer.listenerName)
    }

    /// Records a change by this call once it has succeeded or failed. `state` is read now, and when the answer is called with what
    /// went wrong, if anything did. Without an audit log nothing is read.
    func auditing(
        _ operation: String, _ resource: String, _ name: String, _ state: @escaping @Sendable () -> [String: String]?
    ) -> @Sendable ((any Error)?) -> Void {
        guard engine.audit.isOn else { return { _ in } }
        let before = state()
        return { [self] failure in
            engine.audit.record(
                AuditEvent(
                    .change, auditSubject, operation, resource: resource, name: name, failure == nil ? .succeeded : .failed,
                    cause: failure.map { "\($0)" }, before: before, after: state()))
        }
    }

    /// Whether the caller may. Denials are counted and logged. Where an external policy is asked, only `authorize` can wait for it: elsewhere
    /// the answer is what is known, or no.
    func may(_ operation: AccessOperation, _ resource: ResourceType, _ name: String) -> Bool {
        // Nothing is put together for a question with one answer.
        if engine.access.isOpen, !engine.audit.recordsAllowed { return true }
        let decision = decide(operation, resource, name)
        guard !decision.isAllowed || engine.audit.recordsAllowed else { return true }
        guard let inquiry else {
            tell(decision, operation, resource, name)
            return decision.isAllowed
        }
        if !decision.isUndecided { inquiry.noting { self.tell(decision, operation, resource, name) } }
        return decision.isAllowed
    }

    /// The same for what is only passed over: nobody asked for it by name.
    func maySee(_ operation: AccessOperation, _ resource: ResourceType, _ name: String) -> Bool {
        decide(operation, resource, name).isAllowed
    }

    private func decide(
        _ operation: AccessOperation, _ resource: ResourceType, _ name: String
    ) -> AccessRules.Decision {
        inquiry?.decide(operation, resource, name) ?? engine.access.decide(accessClient, operation, resource, name)
    }

    private func tell(
        _ decision: AccessRules.Decision, _ operation: AccessOperation, _ resource: ResourceType, _ name: String
    ) {
        engine.audit.record(
            AuditEvent(
                .access, auditSubject, "\(operation)", resource: "\(resource)", name: name,
                decision.isAllowed ? .allowed : .denied,
                rule: decision.rule ?? (decision.isAllowed || decision.cause != nil ? nil : "none allows it"),
                cause: decision.cause))
        guard !decision.isAllowed else { return }
        engine.accessMetrics.grpc.denials.increment()
        let denial = AccessDenial(principal, address: peer.remoteAddress, operation, resource, name, decision)
        server.logger.info("denied", metadata: (trace?.metadata ?? [:]).merging(denial.metadata) { $1 })
    }

    /// Whether a topic that a pattern has found may be read. Only if it may, this is an access.
    func mayFind(_ topic: String) -> Bool { maySee(.read, .topic, topic) && may(.read, .topic, topic) }

    /// Throws `PERMISSION_DENIED` if the caller may not.
    func require(_ operation: AccessOperation, _ resource: ResourceType, _ name: String) throws(GRPCStatus) {
        guard !may(operation, resource, name) else { return }
        throw .denied(principal, operation, resource, name)
    }

    /// A topic that does not exist and is to be: that is for the whole broker, or for this name.
    func requireCreation(of topic: String) throws(GRPCStatus) {
        if maySee(.create, .cluster, AccessRule.clusterName) { return }
        try require(.create, .topic, topic)
    }
}

extension GRPCStatus {
    static func denied(
        _ principal: String, _ operation: AccessOperation, _ resource: ResourceType, _ name: String
    ) -> GRPCStatus {
        GRPCStatus(
            .permissionDenied, "ACCESS_DENIED",
            [("operation", "\(operation)"), ("resource", "\(resource)"), ("name", name), ("\(resource)", name)],
            "\(principal) may not \(operation) \(resource) \(name); who administers the broker can add a rule that allows it")
    }
}
