// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the change of one resource's configuration, whichever call asks for it.
//
// All or nothing: the new overrides are put together and checked as a whole before anything is written.

import Engine
import KafkaWire
import NIOCore

struct ConfigAlteration: Sendable {
    typealias Edit = @Sendable (ConfigResource, [String: String]) throws(EngineError) -> [String: String]

    var type: Int8
    var name: String
    /// The keys as they came.
    var keys: [String]
    /// Those of them that need a value and have none.
    var missingValues: [String]
    var edit: Edit

    /// What a request answers for one resource.
    struct Outcome: Sendable {
        var type: Int8
        var name: String
        var code: KafkaErrorCode
        var message: String?
    }

    /// Makes every change of a request, and answers in its order. A resource that is named twice is refused, as in Kafka.
    static func run(
        _ alterations: [ConfigAlteration], validateOnly: Bool, _ exchange: Exchange,
        answer: @escaping @Sendable ([Outcome]) -> Void
    ) {
        var counts: [String: Int] = [:]
        func id(_ alteration: ConfigAlteration) -> String { "\(alteration.type) \(alteration.name)" }
        for alteration in alterations { counts[id(alteration), default: 0] += 1 }
        let changes = alterations.map { alteration -> EventLoopFuture<Void> in
            guard counts[id(alteration)] == 1 else {
                return exchange.loop.makeFailedFuture(
                    EngineError(.invalidRequest, "Each resource must appear at most once."))
            }
            do throws(EngineError) {
                return try alteration.run(validateOnly: validateOnly, exchange)
            } catch {
                return exchange.loop.makeFailedFuture(error)
            }
        }
        EventLoopFuture.whenAllComplete(changes, on: exchange.loop).whenSuccess { results in
            answer(zip(alterations, results).map { alteration, result in alteration.outcome(result) })
        }
    }

    private func outcome(_ result: Result<Void, any Error>) -> Outcome {
        switch result {
        case .success: Outcome(type: type, name: name, code: .none, message: nil)
        case .failure(let error): Outcome(type: type, name: name, code: KafkaErrorCode(error), message: "\(error)")
        }
    }

    private func run(validateOnly: Bool, _ exchange: Exchange) throws(EngineError) -> EventLoopFuture<Void> {
        let engine = exchange.engine
        if Set(keys).count != keys.count { throw EngineError(.invalidRequest, "Error due to duplicate config keys") }
        if !missingValues.isEmpty {
            throw EngineError(
                .invalidRequest, "Null value not supported for : \(missingValues.joined(separator: ", "))")
        }
        if type == ConfigResourceType.topic, name.isEmpty {
            throw EngineError(.invalidRequest, "Default topic resources are not allowed.")
        }
        let resource = try ConfigResource.find(type: type, name: name, in: engine)
        if let stored = resource.stored(in: engine) {
            guard !validateOnly else {
                try engine.configurations.validate(stored) { overrides throws(EngineError) in try edit(resource, overrides) }
                return exchange.loop.makeSucceededVoidFuture()
            }
            return engine.configurations.alter(stored, on: exchange.loop) { [edit] overrides throws(EngineError) in
                try edit(resource, overrides)
            }
        }
        guard case .topic(let topic) = resource else {
            throw EngineError(
                .invalidRequest, "the levels of loggers are those of the setting log.level; change it and send the broker SIGHUP")
        }
        return try run(topic, resource, validateOnly: validateOnly, exchange)
    }

    private func run(
        _ topic: Topic, _ resource: ConfigResource, validateOnly: Bool, _ exchange: Exchange
    ) throws(EngineError) -> EventLoopFuture<Void> {
        guard !topic.isInternal else {
            throw EngineError(.limitReached, "topic \(topic.name) belongs to the broker, which depends on its configuration")
        }
        let topics = exchange.engine.topics
        guard !validateOnly else {
            _ = try TopicConfiguration(
                overrides: try edit(resource, topic.configuration.overrides), defaults: topics.defaults.effective)
            return exchange.loop.makeSucceededVoidFuture()
        }
        return topics.alter(topic.name, on: exchange.loop) { [edit] overrides throws(EngineError) in
            overrides = try edit(resource, overrides)
        }
    }
}
