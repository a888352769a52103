// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: CreateAcls (key 30).
//
// Versions: 1 to 3.
// Behaviour: as Kafka without an authoriser: SECURITY_DISABLED for each entry.
// Deviations from Kafka: access control is not served.
// Notes: 2 is flexible, 3 adds user resources.

import Engine
import KafkaWire

enum CreateAclsHandler: KafkaHandler {
    static func handle(_ request: CreateAclsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.creations.count, "entries", limit: Limits.resourcesPerRequest) else { return }
        var response = CreateAclsResponse()
        response.results = request.creations.map { _ in
            var result = CreateAclsResponse.Result()
            result.errorCode = .securityDisabled
            result.errorMessage = "No Authorizer is configured."
            return result
        }
        exchange.reply(response)
    }
}
