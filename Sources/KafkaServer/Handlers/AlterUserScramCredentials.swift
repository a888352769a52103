// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AlterUserScramCredentials (key 51).
//
// Versions: 0.
// Behaviour: nothing is stored, and every user is told so: UNSUPPORTED_SASL_MECHANISM for a credential to set,
//   RESOURCE_NOT_FOUND for one to delete.
// Deviations from Kafka: Kafka stores credentials, also when no listener uses them.

import Engine
import KafkaWire

enum AlterUserScramCredentialsHandler: KafkaHandler {
    static func handle(_ request: AlterUserScramCredentialsRequest, _ exchange: Exchange) {
        let count = request.deletions.count + request.upsertions.count
        guard exchange.admits(count, "credentials", limit: Limits.resourcesPerRequest) else { return }
        var refused: [String: (KafkaErrorCode, String)] = [:]
        for deletion in request.deletions {
            refused[deletion.name] = (
                .resourceNotFound, "Attempt to delete a user credential that does not exist"
            )
        }
        for upsertion in request.upsertions {
            refused[upsertion.name] = (
                .unsupportedSaslMechanism, "this broker has no SASL listeners and stores no SCRAM credentials"
            )
        }
        var response = AlterUserScramCredentialsResponse()
        response.results = refused.sorted { $0.key < $1.key }.map { name, refusal in
            var result = AlterUserScramCredentialsResponse.Result()
            result.user = name
            (result.errorCode, result.errorMessage) = refusal
            return result
        }
        exchange.reply(response)
    }
}
