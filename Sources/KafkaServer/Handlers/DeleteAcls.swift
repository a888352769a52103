// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DeleteAcls (key 31).
//
// Versions: 1 to 3.
// Behaviour: as Kafka without an authoriser: SECURITY_DISABLED for each filter.
// Deviations from Kafka: access control is not served.
// Notes: 2 is flexible, 3 adds user resources.

import Engine
import KafkaWire

enum DeleteAclsHandler: KafkaHandler {
    static func handle(_ request: DeleteAclsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.filters.count, "filters", limit: Limits.resourcesPerRequest) else { return }
        var response = DeleteAclsResponse()
        response.filterResults = request.filters.map { _ in
            var result = DeleteAclsResponse.FilterResult()
            result.errorCode = .securityDisabled
            result.errorMessage = "No Authorizer is configured."
            return result
        }
        exchange.reply(response)
    }
}
