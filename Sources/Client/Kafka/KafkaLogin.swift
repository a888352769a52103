// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: logs a connection in with a name and a password, by SASL.
//
// The strongest mechanism that the broker offers. The password itself is only sent over TLS or to this machine; SCRAM
// sends none.

import KafkaWire
import NIOCore
import Security

/// A name and a password.
package struct LoginName: Equatable, Sendable {
    package var user: String
    package var password: String

    package init(user: String, password: String) {
        self.user = user
        self.password = password
    }
}

extension KafkaConnection {
    private static let preferred: [SaslMechanism] = [.scramSHA512, .scramSHA256, .plain]

    func loggedIn(as login: LoginName, isSecret: Bool) -> EventLoopFuture<KafkaConnection> {
        let names = Self.preferred.filter { isSecret || $0 != .plain }
        return choose(names[0]).flatMap { offered -> EventLoopFuture<SaslMechanism> in
            guard let offered else { return channel.eventLoop.makeSucceededFuture(names[0]) }
            guard let other = names.first(where: { offered.contains($0.rawValue) }) else {
                return channel.eventLoop.makeFailedFuture(
                    ClientError(
                        .refused,
                        "\(endpoint) offers no login with a password here (it offers: \(offered.joined(separator: ", ")))"))
            }
            return choose(other).flatMapThrowing { refused in
                guard refused == nil else { throw ClientError(.badAnswer, "\(endpoint) refuses \(other.rawValue)") }
                return other
            }
        }.flatMap { exchange($0, login) }.map { self }
    }

    /// nil: the mechanism is chosen; otherwise what there is.
    private func choose(_ mechanism: SaslMechanism) -> EventLoopFuture<[String]?> {
        var request = SaslHandshakeRequest()
        request.mechanism = mechanism.rawValue
        return send(request).flatMapThrowing { answer in
            switch answer.errorCode {
            case .none: return nil
            case .unsupportedSaslMechanism: return answer.mechanisms
            case .illegalSaslState:
                throw ClientError(.refused, "\(endpoint) takes no logins with passwords; set its sasl.enabled.mechanisms")
            default: throw ClientError(.refused, "\(endpoint) refuses the login (\(answer.errorCode.name))")
            }
        }
    }

    private func exchange(_ mechanism: SaslMechanism, _ login: LoginName) -> EventLoopFuture<Void> {
        guard let scram = mechanism.scram else {
            return authenticate(Array("\0\(login.user)\0\(login.password)".utf8), login).map { _ in }
        }
        let client = ScramClient(scram, user: login.user, password: login.password)
        return authenticate(client.first(), login).flatMap { challenge in
            var client = client
            do throws(ScramClient.Failure) {
                let answer = try client.answer(to: challenge)
                return authenticate(answer, login).flatMapThrowing { [client] last in
                    guard client.accepts(last) else {
                        throw ClientError(.refused, "\(endpoint) does not know the password either; who is it?")
                    }
                }
            } catch {
                return channel.eventLoop.makeFailedFuture(
                    ClientError(.badAnswer, "\(endpoint) cannot be logged in to: \(error)"))
            }
        }
    }

    private func authenticate(_ token: [UInt8], _ login: LoginName) -> EventLoopFuture<[UInt8]> {
        var request = SaslAuthenticateRequest()
        request.authBytes = ByteBuffer(bytes: token)
        return send(request).flatMapThrowing { answer in
            guard answer.errorCode == .none else {
                throw ClientError(.refused, "\(endpoint) refuses the login of `\(login.user)`: wrong name or password")
            }
            return Array(buffer: answer.authBytes)
        }
    }
}
