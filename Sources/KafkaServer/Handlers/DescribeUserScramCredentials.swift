// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeUserScramCredentials (key 50).
//
// Versions: 0.
// Behaviour: mechanisms and iterations of the users asked for, or of all; RESOURCE_NOT_FOUND for one without a password,
//   DUPLICATE_RESOURCE for one named twice.
// Deviations from Kafka: none known.
// Notes: KIP-554. No secret is ever told.

import Engine
import KafkaWire
import Security

enum DescribeUserScramCredentialsHandler: KafkaHandler {
    typealias Result = DescribeUserScramCredentialsResponse.Result

    static func handle(_ request: DescribeUserScramCredentialsRequest, _ exchange: Exchange) {
        let asked = request.users?.map(\.name) ?? []
        guard exchange.admits(asked.count, "users", limit: Limits.resourcesPerRequest) else { return }
        let known = Dictionary(grouping: exchange.engine.access.credentials()) { $0.key.user }
        let counts = Dictionary(asked.map { ($0, 1) }, uniquingKeysWith: +)
        var response = DescribeUserScramCredentialsResponse()
        for user in (asked.isEmpty ? Set(known.keys) : Set(asked)).sorted() {
            var result = Result()
            result.user = user
            if counts[user, default: 1] > 1 {
                result.errorCode = .duplicateResource
                result.errorMessage = "the request names user \(user) more than once"
            } else if let credentials = known[user] {
                result.credentialInfos = credentials.map { info($0.key, $0.value) }.sorted { $0.mechanism < $1.mechanism }
            } else {
                result.errorCode = .resourceNotFound
                result.errorMessage = "user \(user) has no SCRAM credential"
            }
            response.results.append(result)
        }
        exchange.reply(response)
    }

    private static func info(
        _ key: CredentialKey, _ iterations: Int32
    ) -> DescribeUserScramCredentialsResponse.CredentialInfo {
        var info = DescribeUserScramCredentialsResponse.CredentialInfo()
        info.mechanism = key.mechanism.number
        info.iterations = iterations
        return info
    }
}
