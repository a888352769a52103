// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: IncrementalAlterConfigs (key 44).
//
// Versions: 0 to 1.
// Behaviour: each resource's changes apply together or not at all: SET and DELETE for every key, APPEND and SUBTRACT for keys
//   whose value is a list. Topics, the broker and the defaults of all brokers (the keys that topics have too, under the
//   broker's names; in force at once for topics without a value of their own), groups, subscriptions to client metrics.
//   Unknown keys and bad values are refused by name. The reply goes when all is durable.
// Deviations from Kafka: a broker's other keys are fixed at start, as are the levels of loggers (INVALID_REQUEST); the
//   broker's own topics cannot be changed (POLICY_VIOLATION); keys that Kafka would ignore are refused.
// Notes: 1 is flexible.

import Engine
import KafkaWire

enum IncrementalAlterConfigsHandler: KafkaHandler {
    typealias Resource = IncrementalAlterConfigsRequest.Resource
    typealias Config = IncrementalAlterConfigsRequest.Config
    private typealias Operation = IncrementalAlterConfigsRequest.Operation

    static func handle(_ request: IncrementalAlterConfigsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.resources.count, "resources", limit: Limits.resourcesPerRequest) else { return }
        let alterations = request.resources.map { resource in
            ConfigAlteration(
                type: resource.resourceType, name: resource.resourceName, keys: resource.configs.map(\.name),
                missingValues: resource.configs.filter { $0.value == nil && $0.configOperation != Operation.delete }
                    .map(\.name),
                edit: { found, overrides throws(EngineError) in
                    var overrides = overrides
                    for config in resource.configs { try apply(config, to: &overrides, of: found) }
                    return overrides
                })
        }
        ConfigAlteration.run(alterations, validateOnly: request.validateOnly, exchange) { outcomes in
            var response = IncrementalAlterConfigsResponse()
            response.resources = outcomes.map { outcome in
                var answer = IncrementalAlterConfigsResponse.Resource()
                answer.errorCode = outcome.code
                answer.errorMessage = outcome.message
                answer.resourceType = outcome.type
                answer.resourceName = outcome.name
                return answer
            }
            exchange.reply(response)
        }
    }

    private static func apply(
        _ config: Config, to overrides: inout [String: String], of resource: ConfigResource
    ) throws(EngineError) {
        let value = config.value ?? ""
        switch config.configOperation {
        case Operation.set: overrides[config.name] = value
        case Operation.delete: overrides[config.name] = nil
        case Operation.append:
            let known = try list(config, overrides, of: resource, "append")
            let added = items(value).filter { !known.contains($0) }
            overrides[config.name] = (known + added).joined(separator: ",")
        case Operation.subtract:
            let known = try list(config, overrides, of: resource, "subtract")
            let removed = items(value)
            overrides[config.name] = known.filter { !removed.contains($0) }.joined(separator: ",")
        default:
            throw EngineError(.invalidRequest, "Unknown operations type \(config.configOperation)")
        }
    }

    /// The list that a key has now.
    private static func list(
        _ config: Config, _ overrides: [String: String], of resource: ConfigResource, _ operation: String
    ) throws(EngineError) -> [String] {
        guard let usual = resource.defaultList(config.name) else {
            throw EngineError(
                .invalidConfiguration, "Can't \(operation) to key \(config.name) because its type is not LIST.")
        }
        return items(overrides[config.name] ?? usual)
    }

    private static func items(_ list: String) -> [String] { list.split(separator: ",").map(String.init) }
}
