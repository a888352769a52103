// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: IncrementalAlterConfigs (key 44).
//
// Versions: 0 to 1.
// Behaviour: each topic's changes apply together or not at all: SET and DELETE for every key, APPEND and SUBTRACT for
//   keys whose value is a list. Unknown keys and bad values are refused by name. The reply goes when all is durable.
// Deviations from Kafka: the broker's own configuration cannot be changed at run time (INVALID_CONFIG).

import Engine
import KafkaWire
import NIOCore

enum IncrementalAlterConfigsHandler: KafkaHandler {
    typealias Resource = IncrementalAlterConfigsRequest.Resource
    typealias Outcome = IncrementalAlterConfigsResponse.Resource
    private typealias Operation = IncrementalAlterConfigsRequest.Operation

    static func handle(_ request: IncrementalAlterConfigsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.resources.count, "resources", limit: Limits.resourcesPerRequest) else {
            return
        }
        let changes = request.resources.map { alter($0, validateOnly: request.validateOnly, exchange) }
        EventLoopFuture.whenAllSucceed(changes, on: exchange.loop).whenSuccess { outcomes in
            var response = IncrementalAlterConfigsResponse()
            response.resources = outcomes
            exchange.reply(response)
        }
    }

    private static func alter(
        _ resource: Resource, validateOnly: Bool, _ exchange: Exchange
    ) -> EventLoopFuture<Outcome> {
        let engine = exchange.engine
        var outcome = Outcome()
        outcome.resourceType = resource.resourceType
        outcome.resourceName = resource.resourceName
        let ready = outcome
        do throws(ConfigResource.Refusal) {
            let found = try ConfigResource.find(
                type: resource.resourceType, name: resource.resourceName, in: engine)
            guard case .topic(let topic) = found else {
                throw ConfigResource.Refusal(
                    code: .invalidConfig,
                    message: "the broker's configuration comes from its file, environment and flags; restart it to change it")
            }
            try checkNames(resource)
            var overrides = topic.configuration.overrides
            try edit(&overrides, resource)
            try check(overrides)
            guard !validateOnly else { return exchange.loop.makeSucceededFuture(ready) }
            return engine.topics.alter(topic.name, on: exchange.loop) { overrides in
                // The same edits passed `edit` above; only their base may have changed since.
                try? edit(&overrides, resource)
            }.map { ready }.flatMapErrorThrowing { refused(ready, KafkaErrorCode($0), "\($0)") }
        } catch {
            return exchange.loop.makeSucceededFuture(refused(ready, error.code, error.message))
        }
    }

    private static func refused(_ outcome: Outcome, _ code: KafkaErrorCode, _ message: String) -> Outcome {
        var outcome = outcome
        outcome.errorCode = code
        outcome.errorMessage = message
        return outcome
    }

    private static func checkNames(_ resource: Resource) throws(ConfigResource.Refusal) {
        let names = resource.configs.map(\.name)
        guard Set(names).count == names.count else {
            throw ConfigResource.Refusal(
                code: .invalidRequest, message: "a configuration key is named more than once")
        }
    }

    private static func check(_ overrides: [String: String]) throws(ConfigResource.Refusal) {
        do throws(EngineError) {
            _ = try TopicConfiguration(overrides: overrides)
        } catch {
            throw ConfigResource.Refusal(code: KafkaErrorCode(error), message: error.message)
        }
    }

    private static func edit(
        _ overrides: inout [String: String], _ resource: Resource
    ) throws(ConfigResource.Refusal) {
        for config in resource.configs {
            guard let key = TopicConfigurationKey.named[config.name] else {
                throw ConfigResource.Refusal(
                    code: .invalidConfig, message: "unknown topic configuration key \(config.name)")
            }
            let current = overrides[config.name] ?? key.defaultValue
            switch config.configOperation {
            case Operation.set: overrides[config.name] = try value(config)
            case Operation.delete: overrides[config.name] = nil
            case Operation.append:
                let added = try items(config, of: key)
                let known = split(current)
                overrides[config.name] = (known + added.filter { !known.contains($0) }).joined(separator: ",")
            case Operation.subtract:
                let removed = try items(config, of: key)
                overrides[config.name] = split(current).filter { !removed.contains($0) }.joined(separator: ",")
            default:
                throw ConfigResource.Refusal(
                    code: .invalidRequest, message: "configuration operation \(config.configOperation) is not known")
            }
        }
    }

    private static func value(
        _ config: IncrementalAlterConfigsRequest.Config
    ) throws(ConfigResource.Refusal) -> String {
        guard let value = config.value else {
            throw ConfigResource.Refusal(code: .invalidConfig, message: "no value is given for \(config.name)")
        }
        return value
    }

    private static func items(
        _ config: IncrementalAlterConfigsRequest.Config, of key: TopicConfigurationKey
    ) throws(ConfigResource.Refusal) -> [String] {
        guard key.kind == .list else {
            throw ConfigResource.Refusal(
                code: .invalidConfig,
                message: "\(key.name) is no list: it can be set and deleted, not appended to or subtracted from")
        }
        return split(try value(config))
    }

    private static func split(_ list: String) -> [String] {
        list.split(separator: ",").map(String.init)
    }
}
