// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who a Kafka connection belongs to, and the SASL exchange by which it says so (KIP-43, KIP-152).
//
//   required --SaslHandshake--> chosen --SaslAuthenticate, once or more--> done --SaslHandshake--> chosen (KIP-368)
//
// Part of its connection, on that connection's loop. A connection with a client certificate is logged in by it, unless
// everybody has to log in, and may log in as somebody else. Until a connection that must log in has done so, nothing but
// this exchange and ApiVersions is answered. The password of PLAIN is checked elsewhere, so the state is `checking` meanwhile. A session ends with its
// token, or after `connections.max.reauth.ms`: a request after that, other than a new login, closes the connection. From
// this machine the first user of all can be made without a login.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Security
import Transport

/// What the Kafka edge offers on a listener.
package struct LoginConfiguration: Sendable {
    /// Empty: no SASL.
    package var mechanisms: [SaslMechanism] = []
    /// Clients with a certificate have to log in too.
    package var isForAll = false
    /// After how long a client has to log in again; 0: never (`connections.max.reauth.ms`).
    package var maxReauthMs: Int64 = 0
    /// Makes up salts for unknown users.
    var secret = randomBytes(32)

    package init(mechanisms: [SaslMechanism] = [], maxReauthMs: Int64 = 0) {
        self.mechanisms = mechanisms
        self.maxReauthMs = maxReauthMs
    }
}

struct Login {
    private enum State {
        /// Certificates or nothing; SASL is not offered.
        case notOffered
        case required
        case chosen(SaslMechanism)
        case exchanging(ScramExchange)
        /// The token was not accepted, and the client is to acknowledge it (RFC 7628 section 3.2.3).
        case tokenRefused(String)
        case checking
        case done
    }

    /// How a step ends.
    enum Step {
        case challenge([UInt8])
        case success([UInt8], sessionLifetimeMs: Int64, mechanism: SaslMechanism)
        /// The cause is for the log; the client is told the advice.
        case failure(cause: String, mechanism: SaslMechanism, advice: String? = nil)
        /// The exchange was not begun, or is over.
        case outOfOrder
    }

    /// A hundred years: what is told of tokens that never expire.
    private static let sessionMsMax: Int64 = 100 * 365 * 24 * 3_600_000

    let configuration: LoginConfiguration
    /// Empty where a password could be read on the way.
    let mechanisms: [SaslMechanism]
    private(set) var principal: String
    /// The name within the principal.
    var user: String { String(principal.dropFirst("User:".count)) }
    /// The tokens of version 0 of the handshake come as frames without a header.
    private(set) var takesBareTokens = false
    private var state: State
    /// Who logged in before, and by which mechanism: it must be the same one again.
    private var former: (principal: String, mechanism: SaslMechanism)?
    private var endsNs: UInt64 = .max

    /// Whether it may make the first user: nobody could have logged in for that.
    private let isLocal: Bool
    private let hasCertificate: Bool

    init(_ configuration: LoginConfiguration, peer: ConnectionContext) {
        isLocal = isLoopback(peer.remoteAddress)
        hasCertificate = peer.peerCertificate != nil
        self.configuration = configuration
        principal = peer.principal
        let isSecret = peer.isTLS || isLoopback(peer.remoteAddress)
        mechanisms = configuration.mechanisms.filter { $0.scram != nil || isSecret }
        if configuration.mechanisms.isEmpty {
            state = .notOffered
        } else {
            state = configuration.isForAll || peer.principal == ConnectionContext.anonymous ? .required : .done
        }
    }

    /// Why a request of this API is not answered now; nil if it is.
    func refusal(of apiKey: Int16, nowNs: UInt64, hasUsers: @autoclosure () -> Bool) -> String? {
        switch ApiKey(rawValue: apiKey) {
        case .apiVersions, .saslHandshake, .saslAuthenticate: return nil
        case .describeUserScramCredentials, .alterUserScramCredentials:
            // Where there are passwords, the first is set like this.
            let hasPasswords = configuration.mechanisms.contains { $0 != .oauthBearer }
            if case .required = state, isLocal, hasPasswords, !hasUsers() { return nil }
        default: break
        }
        switch state {
        case .notOffered: return nil
        case .done: return nowNs < endsNs ? nil : "the session has ended; the client has to log in again"
        case .required, .chosen, .exchanging, .tokenRefused, .checking:
            let certificate = hasCertificate ? "; its certificate does not stand for a login here (sasl.required)" : ""
            return "a request before the login; set security.protocol and sasl.mechanism of the client" + certificate
        }
    }

    /// Who the client is is known, or need not be.
    var isOver: Bool {
        switch state {
        case .notOffered, .done: true
        case .required, .chosen, .exchanging, .tokenRefused, .checking: false
        }
    }

    /// Larger requests are not taken now: nobody holds memory here who is not known.
    var frameBytesMax: Int {
        switch state {
        case .notOffered, .done: .max
        case .required, .chosen, .exchanging, .tokenRefused, .checking: Limits.loginRequestBytes
        }
    }

    /// Why a mechanism is not offered, for the log.
    func refusal(ofMechanism name: String) -> String {
        if let former, former.mechanism.rawValue != name { return "the session began with \(former.mechanism.rawValue)" }
        if configuration.mechanisms.contains(where: { $0.rawValue == name }) { return "it is taken over TLS only, or from this machine" }
        let offered = mechanisms.map(\.rawValue).joined(separator: ", ")
        return "there is no such mechanism here; offered: \(offered.isEmpty ? "none without TLS" : offered)"
    }

    /// SaslHandshake: what is answered.
    mutating func choose(_ name: String, isBare: Bool) -> KafkaErrorCode {
        switch state {
        case .notOffered: return .illegalSaslState
        case .required, .done: break
        case .chosen, .exchanging, .tokenRefused, .checking: return .illegalSaslState
        }
        guard let mechanism = mechanisms.first(where: { $0.rawValue == name }) else { return .unsupportedSaslMechanism }
        if let former, former.mechanism != mechanism { return .unsupportedSaslMechanism }
        takesBareTokens = isBare
        state = .chosen(mechanism)
        return .none
    }

    /// One message of the exchange. The answer comes through `completion`, perhaps later.
    static func receive(_ token: [UInt8], on connection: KafkaConnection, completion: @escaping (Step) -> Void) {
        let engine = connection.server.engine
        switch connection.login.state {
        case .chosen(.plain):
            guard let message = PlainMessage(token) else {
                return completion(connection.login.fail("its message is malformed", .plain))
            }
            connection.login.state = .checking
            let done = LoopBound(completion)
            engine.passwords.check(user: message.user, password: message.password, on: connection.loop) { isRight in
                done.value(
                    isRight
                        ? connection.login.succeed(message.user, .plain, [], engine)
                        : connection.login.fail("wrong user or password for \(message.user)", .plain))
            }
        case .chosen(.oauthBearer):
            completion(connection.login.take(token, engine))
        case .tokenRefused(let cause):
            completion(connection.login.fail(cause, .oauthBearer))
        case .chosen(let mechanism):
            guard let scram = mechanism.scram else { return completion(.outOfOrder) }
            let exchange = ScramExchange(scram, secret: connection.login.configuration.secret) {
                engine.access.credential(of: $0, scram)
            }
            completion(connection.login.step(exchange, token, mechanism, engine))
        case .exchanging(let exchange):
            guard let mechanism = SaslMechanism(rawValue: exchange.mechanism.rawValue) else {
                return completion(.outOfOrder)
            }
            completion(connection.login.step(exchange, token, mechanism, engine))
        case .notOffered, .required, .checking, .done:
            completion(.outOfOrder)
        }
    }

    private mutating func step(
        _ exchange: ScramExchange, _ token: [UInt8], _ mechanism: SaslMechanism, _ engine: Engine
    ) -> Step {
        var exchange = exchange
        switch exchange.receive(token) {
        case .challenge(let bytes):
            state = .exchanging(exchange)
            return .challenge(bytes)
        case .success(let bytes):
            return succeed(exchange.user ?? "", mechanism, bytes, engine)
        case .failure(let cause, let advice):
            return fail(cause, mechanism, advice: advice)
        }
    }

    private mutating func take(_ message: [UInt8], _ engine: Engine) -> Step {
        guard let message = OAuthBearerMessage(message) else { return fail("its message is malformed", .oauthBearer) }
        do throws(TokenRefusal) {
            let identity = try engine.tokens.check(message.token)
            guard message.user == nil || message.user == identity.name else {
                throw TokenRefusal("it asks to act as somebody else than \(identity.name)")
            }
            let lifetimeMs = max(1, identity.expiresMs - engine.clock.nowMs())
            return succeed(identity.name, .oauthBearer, [], engine, lifetimeMs: lifetimeMs)
        } catch {
            state = .tokenRefused(error.description)
            return .challenge(OAuthBearerMessage.refusal)
        }
    }

    /// `lifetimeMs`: how long what the client showed is good for.
    private mutating func succeed(
        _ user: String, _ mechanism: SaslMechanism, _ bytes: [UInt8], _ engine: Engine, lifetimeMs: Int64 = .max
    ) -> Step {
        let name = "User:\(user)"
        if let former, former.principal != name {
            return fail("\(former.principal) logged in before and is \(name) now", mechanism)
        }
        former = (name, mechanism)
        principal = name
        state = .done
        takesBareTokens = false
        let longestMs = configuration.maxReauthMs > 0 ? configuration.maxReauthMs : .max
        let sessionMs = min(lifetimeMs, longestMs, Self.sessionMsMax)
        guard lifetimeMs < .max || longestMs < .max else {
            endsNs = .max
            return .success(bytes, sessionLifetimeMs: 0, mechanism: mechanism)
        }
        endsNs = engine.clock.monotonicNs() &+ UInt64(sessionMs) * 1_000_000
        return .success(bytes, sessionLifetimeMs: sessionMs, mechanism: mechanism)
    }

    private mutating func fail(_ cause: String, _ mechanism: SaslMechanism, advice: String? = nil) -> Step {
        state = .required
        takesBareTokens = false
        return .failure(cause: cause, mechanism: mechanism, advice: advice)
    }
}

/// Carries a closure of one event loop through code that must be sendable; it is only called on that loop.
private struct LoopBound<Value>: @unchecked Sendable {
    // Unchecked: made and used on the connection's loop.
    let value: Value

    init(_ value: Value) {
        self.value = value
    }
}
