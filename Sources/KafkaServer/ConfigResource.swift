// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what configuration calls are about: a topic, or the broker.

import Engine
import KafkaWire

/// A resource of DescribeConfigs and IncrementalAlterConfigs, by Kafka's numbers.
enum ConfigResource {
    case topic(Topic)
    case broker

    private static let topicType: Int8 = 2
    private static let brokerType: Int8 = 4

    /// Why a resource cannot be used.
    struct Refusal: Error {
        var code: KafkaErrorCode
        var message: String
    }

    /// Broker resources are named by the node id, or by the empty name for all brokers.
    static func find(type: Int8, name: String, in engine: Engine) throws(Refusal) -> ConfigResource {
        switch type {
        case topicType:
            if let problem = topicNameProblem(name) {
                throw Refusal(code: .invalidTopicException, message: "invalid topic name \"\(name)\": \(problem)")
            }
            guard let topic = engine.topics.topic(named: name) else {
                throw Refusal(code: .unknownTopicOrPartition, message: "topic \(name) does not exist")
            }
            return .topic(topic)
        case brokerType:
            guard name.isEmpty || name == "\(engine.configuration.nodeId)" else {
                throw Refusal(
                    code: .invalidRequest,
                    message: "there is no broker \(name); this one is \(engine.configuration.nodeId)")
            }
            return .broker
        default:
            throw Refusal(
                code: .invalidRequest, message: "resource type \(type) is not known; topics (2) and the broker (4) are")
        }
    }
}
