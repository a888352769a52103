// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AlterClientQuotas (key 49).
//
// Versions: 0 to 1.
// Behaviour: nothing is stored, because nothing would be enforced: INVALID_REQUEST with the reason for each entry.
// Deviations from Kafka: quotas are not served.
// Notes: 1 is flexible.

import Engine
import KafkaWire

enum AlterClientQuotasHandler: KafkaHandler {
    static func handle(_ request: AlterClientQuotasRequest, _ exchange: Exchange) {
        let count = request.entries.reduce(request.entries.count) { $0 + $1.entity.count }
        guard exchange.admits(count, "entities", limit: Limits.resourcesPerRequest) else { return }
        var response = AlterClientQuotasResponse()
        response.entries = request.entries.map { entry in
            var answer = AlterClientQuotasResponse.Entry()
            answer.errorCode = .invalidRequest
            answer.errorMessage = "this broker enforces no quotas and so stores none"
            answer.entity = entry.entity.map { wanted in
                var entity = AlterClientQuotasResponse.Entity()
                entity.entityType = wanted.entityType
                entity.entityName = wanted.entityName
                return entity
            }
            return answer
        }
        exchange.reply(response)
    }
}
