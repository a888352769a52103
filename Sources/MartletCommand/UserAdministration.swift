// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: what `martlet user` asks of a broker, over Kafka's protocol (KIP-554).
//
// Works with any broker that speaks the protocol. The password never leaves the process: what is sent is derived from
// it here.

import Client
import KafkaWire
import NIOCore
import Security

struct UserAdministration {
    struct User {
        var name: String
        var credentials: [(mechanism: String, iterations: Int32)]
    }

    private static let saltBytes = 24

    private let client: KafkaClient

    init(_ options: ConnectionOptions) throws(ClientError) {
        client = try KafkaClient(options)
    }

    func set(_ name: String, password: String, mechanisms: [ScramMechanism], iterations: Int32) throws {
        var request = AlterUserScramCredentialsRequest()
        request.upsertions = mechanisms.map { mechanism in
            let salt = randomBytes(Self.saltBytes)
            var upsertion = AlterUserScramCredentialsRequest.Upsertion()
            upsertion.name = name
            upsertion.mechanism = mechanism.number
            upsertion.iterations = iterations
            upsertion.salt = ByteBuffer(bytes: salt)
            upsertion.saltedPassword = ByteBuffer(
                bytes: ScramCredential.saltedPassword(mechanism, password: password, salt: salt, iterations: iterations))
            return upsertion
        }
        try alter(request, name)
    }

    /// No mechanism: all that the user has.
    func remove(_ name: String, mechanisms: [ScramMechanism]) throws {
        var numbers = mechanisms.map(\.number)
        if numbers.isEmpty { numbers = try describe([name])[0].credentialInfos.map(\.mechanism) }
        var request = AlterUserScramCredentialsRequest()
        request.deletions = numbers.map { number in
            var deletion = AlterUserScramCredentialsRequest.Deletion()
            deletion.name = name
            deletion.mechanism = number
            return deletion
        }
        try alter(request, name)
    }

    func list() throws -> [User] {
        try describe(nil).map { result in
            User(
                name: result.user,
                credentials: result.credentialInfos.map {
                    (ScramMechanism(number: $0.mechanism)?.rawValue ?? "\($0.mechanism)", $0.iterations)
                })
        }
    }

    private func describe(_ names: [String]?) throws -> [DescribeUserScramCredentialsResponse.Result] {
        var request = DescribeUserScramCredentialsRequest()
        request.users = names?.map { name in
            var user = DescribeUserScramCredentialsRequest.User()
            user.name = name
            return user
        }
        let answer = try client.wait(client.connection(to: client.options.endpoint).send(request))
        try check(answer.errorCode, answer.errorMessage, "users")
        for result in answer.results { try check(result.errorCode, result.errorMessage, "user `\(result.user)`") }
        guard names == nil || !answer.results.isEmpty else { throw noAnswer }
        return answer.results
    }

    private func alter(_ request: AlterUserScramCredentialsRequest, _ name: String) throws {
        let answer = try client.wait(client.connection(to: client.options.endpoint).send(request))
        guard let result = answer.results.first else { throw noAnswer }
        try check(result.errorCode, result.errorMessage, "user `\(name)`")
    }

    private var noAnswer: CommandError {
        CommandError("\(client.options.endpoint) answered without the user; is it a Kafka broker?")
    }

    private func check(_ code: KafkaErrorCode, _ message: String?, _ what: String) throws(CommandError) {
        guard code != .none else { return }
        let advice =
            switch code {
            case .resourceNotFound: "there is no such user, or no such password; `martlet user list` shows those there are"
            case .clusterAuthorizationFailed:
                "this identity may not do that; it needs Alter (to see: Describe) on the cluster"
            default: "the broker refuses (\(code.name))"
            }
        throw CommandError("\(what): \(advice)" + (message.map { ": \($0)" } ?? ""))
    }
}
