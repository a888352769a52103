// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeUserScramCredentials (key 50).
//
// Versions: 0.
// Behaviour: nobody has SCRAM credentials here: RESOURCE_NOT_FOUND for each user named, nothing if all are asked for. A user
//   named twice is DUPLICATE_RESOURCE, as in Kafka.
// Deviations from Kafka: credentials cannot be stored.

import Engine
import KafkaWire

enum DescribeUserScramCredentialsHandler: KafkaHandler {
    static func handle(_ request: DescribeUserScramCredentialsRequest, _ exchange: Exchange) {
        let users = request.users ?? []
        guard exchange.admits(users.count, "users", limit: Limits.resourcesPerRequest) else { return }
        var counts: [String: Int] = [:]
        for user in users { counts[user.name, default: 0] += 1 }
        var response = DescribeUserScramCredentialsResponse()
        response.results = counts.sorted { $0.key < $1.key }.map { name, count in
            var result = DescribeUserScramCredentialsResponse.Result()
            result.user = name
            if count > 1 {
                result.errorCode = .duplicateResource
                result.errorMessage =
                    "Cannot describe SCRAM credentials for the same user twice in a single request: \(name)"
            } else {
                result.errorCode = .resourceNotFound
                result.errorMessage = "Attempt to describe a user credential that does not exist: \(name)"
            }
            return result
        }
        exchange.reply(response)
    }
}
