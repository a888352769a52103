// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeClientQuotas (key 48).
//
// Versions: 0 to 1.
// Behaviour: the quotas whose entities the filter means: a component names a type and a name, the default, or any; strict leaves
//   out entities with other types as well. No component means all. A type may be named once, and ip not together with others.
// Deviations from Kafka: none known.
// Notes: KIP-546. 1 is flexible.

import Engine
import KafkaWire

enum DescribeClientQuotasHandler: KafkaHandler {
    typealias Entry = DescribeClientQuotasResponse.Entry

    static func handle(_ request: DescribeClientQuotasRequest, _ exchange: Exchange) {
        guard exchange.admits(request.components.count, "components", limit: Limits.resourcesPerRequest) else { return }
        var response = DescribeClientQuotasResponse()
        do throws(QuotaFilter.Refusal) {
            let filter = try QuotaFilter(request)
            response.entries = exchange.engine.quotas.table.quotas.filter { filter.includes($0.key) }
                .sorted { $0.key.description < $1.key.description }
                .map { entry($0.key, $0.value) }
        } catch {
            response.errorCode = error.code
            response.errorMessage = error.message
        }
        exchange.reply(response)
    }

    private static func entry(_ entity: QuotaEntity, _ limits: [QuotaKey: Double]) -> Entry {
        var entry = Entry()
        entry.entity = entity.parts.map { part in
            var entity = DescribeClientQuotasResponse.Entity()
            entity.entityType = part.type
            entity.entityName = part.name
            return entity
        }
        entry.values = limits.sorted { $0.key.rawValue < $1.key.rawValue }.map { key, limit in
            var value = DescribeClientQuotasResponse.Value()
            value.key = key.rawValue
            value.value = limit
            return value
        }
        return entry
    }
}
