// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeConfigs (key 32).
//
// Versions: 1 to 4.
// Behaviour: every key of the resource with value, source and type, and on request synonyms and documentation; or the keys
//   that are named (no list, or an empty one, names all). Topics, this broker, the defaults of all brokers (the empty
//   name: what was set at run time), groups and subscriptions to client metrics, which need not exist, and loggers.
// Deviations from Kafka: the broker lists the keys that are true here, not Kafka's several hundred; `log.retention.ms` and
//   `log.roll.ms` are never null. Levels of loggers are fixed at start, and read-only.
// Notes: 1 adds sources and synonyms, 3 types and documentation.

import Engine
import KafkaWire

enum DescribeConfigsHandler: KafkaHandler {
    typealias Result = DescribeConfigsResponse.Result

    static func handle(_ request: DescribeConfigsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.resources.count, "resources", limit: Limits.resourcesPerRequest) else {
            return
        }
        var response = DescribeConfigsResponse()
        response.results = request.resources.map { describe($0, request, exchange) }
        exchange.reply(response)
    }

    private static func describe(
        _ resource: DescribeConfigsRequest.Resource, _ request: DescribeConfigsRequest, _ exchange: Exchange
    ) -> Result {
        var result = Result()
        result.resourceType = resource.resourceType
        result.resourceName = resource.resourceName
        do throws(EngineError) {
            let found = try ConfigResource.find(
                type: resource.resourceType, name: resource.resourceName, in: exchange.engine)
            var configs = ConfigDescription(exchange).configs(of: found)
            if let wanted = resource.configurationKeys, !wanted.isEmpty {
                let wanted = Set(wanted)
                configs.removeAll { !wanted.contains($0.name) }
            }
            for at in configs.indices {
                if !request.includeSynonyms { configs[at].synonyms = [] }
                if !request.includeDocumentation { configs[at].documentation = nil }
            }
            result.configs = configs
        } catch {
            result.errorCode = KafkaErrorCode(error)
            result.errorMessage = error.message
        }
        return result
    }
}

extension TopicConfigurationKey.Kind {
    /// Kafka's number of the type (ConfigDef.Type as DescribeConfigs sends it).
    var number: Int8 {
        switch self {
        case .boolean: 1
        case .string: 2
        case .int: 3
        case .long: 5
        case .double: 6
        case .list: 7
        }
    }
}
