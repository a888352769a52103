// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AlterUserScramCredentials (key 51).
//
// Versions: 0.
// Behaviour: sets and removes passwords; for each user all of its changes or none, answered when they are durable. What Kafka
//   refuses is refused: iterations outside of 4096 to 16384, an empty name (UNACCEPTABLE_CREDENTIAL), an unknown mechanism
//   (UNSUPPORTED_SASL_MECHANISM), two changes of one credential (DUPLICATE_RESOURCE), removing one that is not there
//   (RESOURCE_NOT_FOUND).
// Deviations from Kafka: an empty salt or salted password, or one of more than 1,024 bytes, is refused.
// Notes: KIP-554. The client derives the salted password, so the password itself is never sent.

import Engine
import KafkaWire
import NIOCore
import Security

enum AlterUserScramCredentialsHandler: KafkaHandler {
    private static let nameBytesMax = 1_024
    private static let saltBytesMax = 1_024

    private struct Refusal: Error {
        var code: KafkaErrorCode
        var message: String
    }

    static func handle(_ request: AlterUserScramCredentialsRequest, _ exchange: Exchange) {
        let count = request.deletions.count + request.upsertions.count
        guard exchange.admits(count, "credentials", limit: Limits.resourcesPerRequest) else { return }
        let users = Set(request.deletions.map(\.name) + request.upsertions.map(\.name)).sorted()
        var changes: [CredentialKey: ScramCredential?] = [:]
        var response = AlterUserScramCredentialsResponse()
        for user in users {
            var result = AlterUserScramCredentialsResponse.Result()
            result.user = user
            do throws(Refusal) {
                changes.merge(try changesOf(user, request, exchange.engine.access)) { $1 }
            } catch {
                result.errorCode = error.code
                result.errorMessage = error.message
            }
            response.results.append(result)
        }
        exchange.engine.access.set(changes, on: exchange.loop) { [response] outcome in
            var response = response
            if case .failure(let error) = outcome {
                for index in response.results.indices where response.results[index].errorCode == .none {
                    response.results[index].errorCode = KafkaErrorCode(error)
                    response.results[index].errorMessage = error.message
                }
            }
            exchange.reply(response)
        }
    }

    private static func changesOf(
        _ user: String, _ request: AlterUserScramCredentialsRequest, _ access: AccessControl
    ) throws(Refusal) -> [CredentialKey: ScramCredential?] {
        guard !user.isEmpty, user.utf8.count <= nameBytesMax else {
            throw Refusal(code: .unacceptableCredential, message: "a user's name has 1 to \(nameBytesMax) bytes")
        }
        var changes: [CredentialKey: ScramCredential?] = [:]
        func add(_ number: Int8, _ credential: (ScramMechanism) throws(Refusal) -> ScramCredential?) throws(Refusal) {
            guard let mechanism = ScramMechanism(number: number) else {
                throw Refusal(code: .unsupportedSaslMechanism, message: "SCRAM mechanism \(number) is not known")
            }
            let key = CredentialKey(user: user, mechanism: mechanism)
            guard changes[key] == nil else {
                throw Refusal(
                    code: .duplicateResource, message: "the request changes \(mechanism.rawValue) of \(user) twice")
            }
            changes[key] = .some(try credential(mechanism))
        }
        for deletion in request.deletions where deletion.name == user {
            try add(deletion.mechanism) { (mechanism) throws(Refusal) in
                guard access.credential(of: user, mechanism) != nil else {
                    throw Refusal(code: .resourceNotFound, message: "user \(user) has no \(mechanism.rawValue) credential")
                }
                return nil
            }
        }
        for upsertion in request.upsertions where upsertion.name == user {
            try add(upsertion.mechanism) { (mechanism) throws(Refusal) in try credential(upsertion, mechanism) }
        }
        return changes
    }

    private static func credential(
        _ upsertion: AlterUserScramCredentialsRequest.Upsertion, _ mechanism: ScramMechanism
    ) throws(Refusal) -> ScramCredential {
        guard ScramCredential.iterations.contains(upsertion.iterations) else {
            let few = upsertion.iterations < ScramCredential.iterations.lowerBound
            throw Refusal(
                code: .unacceptableCredential,
                message: "\(upsertion.iterations) are too \(few ? "few" : "many") iterations;"
                    + " \(ScramCredential.iterations.lowerBound) to \(ScramCredential.iterations.upperBound) are allowed")
        }
        guard upsertion.salt.readableBytes > 0, upsertion.salt.readableBytes <= saltBytesMax,
            (1...saltBytesMax).contains(upsertion.saltedPassword.readableBytes)
        else {
            throw Refusal(code: .unacceptableCredential, message: "the salt or the salted password has a wrong length")
        }
        return ScramCredential(
            mechanism: mechanism, salt: Array(buffer: upsertion.salt), iterations: upsertion.iterations,
            saltedPassword: Array(buffer: upsertion.saltedPassword))
    }
}
