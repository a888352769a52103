// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeClientQuotas (key 48).
//
// Versions: 0 to 1.
// Behaviour: there are no quotas, so no entry matches; the filter is checked as in Kafka: entity types and match types must be
//   known, a type may be named once, and an exact match needs a name.
// Deviations from Kafka: quotas cannot be stored.
// Notes: 1 is flexible.

import Engine
import KafkaWire

enum DescribeClientQuotasHandler: KafkaHandler {
    private static let exact: Int8 = 0, `default`: Int8 = 1, any: Int8 = 2

    static func handle(_ request: DescribeClientQuotasRequest, _ exchange: Exchange) {
        guard exchange.admits(request.components.count, "components", limit: Limits.resourcesPerRequest) else { return }
        var response = DescribeClientQuotasResponse()
        if let (code, message) = refusal(request.components) {
            response.errorCode = code
            response.errorMessage = message
        } else {
            response.entries = []
        }
        exchange.reply(response)
    }

    private static func refusal(
        _ components: [DescribeClientQuotasRequest.Component]
    ) -> (KafkaErrorCode, String)? {
        var seen: Set<String> = []
        for component in components {
            let type = component.entityType
            guard !type.isEmpty else { return (.invalidRequest, "Unexpected empty filter component entity type") }
            guard ClientQuotas.entityTypes.contains(type) else {
                return (.unsupportedVersion, "Custom entity type '\(type)' not supported")
            }
            guard seen.insert(type).inserted else { return (.invalidRequest, "Duplicate entity type filter '\(type)'") }
            switch component.matchType {
            case exact where component.match == nil:
                return (.invalidRequest, "Request specified EXACT, but match string is null")
            case `default` where component.match != nil, any where component.match != nil:
                return (.invalidRequest, "Request specified a match string, but the match type does not take one")
            case exact, `default`, any: continue
            default: return (.invalidRequest, "Unknown match type \(component.matchType)")
            }
        }
        if seen.contains("ip"), seen.count > 1 {
            return (.invalidRequest, "Invalid entity filter component combination: ip with user or client-id")
        }
        return nil
    }
}

/// What quotas are about.
enum ClientQuotas {
    static let entityTypes: Set<String> = ["user", "client-id", "ip"]
}
