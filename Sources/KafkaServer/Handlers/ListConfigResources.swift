// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ListConfigResources (key 74; ListClientMetricsResources in version 0).
//
// Versions: 0 to 1.
// Behaviour: version 0 lists the subscriptions to client metrics; version 1 the resources of the types asked for, or of all:
//   topics, this broker and its loggers, subscriptions, and the groups that have a configuration. An unknown type is
//   UNSUPPORTED_VERSION, as in Kafka.
// Deviations from Kafka: none known.
// Notes: 1 adds types (KIP-1142).

import Engine
import KafkaWire

enum ListConfigResourcesHandler: KafkaHandler {
    private typealias Types = ConfigResourceType

    static func handle(_ request: ListConfigResourcesRequest, _ exchange: Exchange) {
        let all = [Types.topic, Types.broker, Types.brokerLogger, Types.clientMetrics, Types.group]
        var types = exchange.version == 0 ? [Types.clientMetrics] : request.resourceTypes
        if types.isEmpty { types = all }
        var response = ListConfigResourcesResponse()
        guard types.allSatisfy({ all.contains($0) }) else {
            response.errorCode = .unsupportedVersion
            return exchange.reply(response)
        }
        response.configResources = Set(types).sorted().flatMap { type in
            names(of: type, exchange.engine).map { name in
                var resource = ListConfigResourcesResponse.ConfigResource()
                resource.resourceType = type
                resource.resourceName = name
                return resource
            }
        }
        exchange.reply(response)
    }

    private static func names(of type: Int8, _ engine: Engine) -> [String] {
        switch type {
        case Types.topic: engine.topics.all.map(\.name)
        case Types.broker, Types.brokerLogger: ["\(engine.configuration.nodeId)"]
        case Types.clientMetrics: engine.configurations.names(of: .clientMetrics)
        default: engine.configurations.names(of: .group)
        }
    }
}
