// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AlterConfigs (key 33).
//
// Versions: 0 to 2.
// Behaviour: what is given replaces all overrides of the resource: of a topic, the broker, the defaults of all brokers, a
//   group or a subscription to client metrics. All or nothing for each resource. The reply goes when all is durable.
// Deviations from Kafka: as for IncrementalAlterConfigs.
// Notes: 2 is flexible.

import Engine
import KafkaWire

enum AlterConfigsHandler: KafkaHandler {
    static func handle(_ request: AlterConfigsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.resources.count, "resources", limit: Limits.resourcesPerRequest) else { return }
        let alterations = request.resources.map { resource in
            ConfigAlteration(
                type: resource.resourceType, name: resource.resourceName, keys: resource.configs.map(\.name),
                missingValues: resource.configs.filter { $0.value == nil }.map(\.name),
                edit: { found, _ throws(EngineError) in
                    if case .loggers = found {
                        throw EngineError(.invalidRequest, "Unknown resource type \(resource.resourceType)")
                    }
                    return Dictionary(
                        resource.configs.map { ($0.name, $0.value ?? "") }, uniquingKeysWith: { first, _ in first })
                })
        }
        ConfigAlteration.run(alterations, validateOnly: request.validateOnly, exchange) { outcomes in
            var response = AlterConfigsResponse()
            response.responses = outcomes.map { outcome in
                var answer = AlterConfigsResponse.Resource()
                answer.errorCode = outcome.code
                answer.errorMessage = outcome.message
                answer.resourceType = outcome.type
                answer.resourceName = outcome.name
                return answer
            }
            exchange.reply(response)
        }
    }
}
