// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: martlet.v1.Admin.
//
// Methods: CreateTopic, ListTopics, DescribeTopic, DeleteTopic.
// Behaviour: answered when the change is durable and visible; RESOURCE_EXHAUSTED over controller_mutation_rate. The broker's own topics can be described, but are neither
// listed nor deleted.

import Bytes
import Contract
import Engine
import GRPCWire
import NIOCore
import SwiftProtobuf

struct AdminService: Sendable {
    static let name = "martlet.v1.Admin"

    let engine: Engine

    var methods: [GRPCMethod] {
        [
            GRPCMethod(Self.name, "CreateTopic") { (request: Martlet_V1_CreateTopicRequest, call) throws(GRPCStatus) in
                try create(request, call)
            },
            GRPCMethod(Self.name, "ListTopics") { (_: Martlet_V1_ListTopicsRequest, call) in
                call.authorize({
                    engine.topics.all.filter { !$0.isInternal && call.maySee(.describe, .topic, $0.name) }
                }) { topics in
                    call.respond(Martlet_V1_ListTopicsResponse.with { $0.topics = topics.map(Self.message) })
                }
            },
            GRPCMethod(Self.name, "DescribeTopic") {
                (request: Martlet_V1_DescribeTopicRequest, call) throws(GRPCStatus) in
                call.authorize { () throws(GRPCStatus) in
                    try call.require(.describe, .topic, request.name)
                    return call.maySee(.describeConfigs, .topic, request.name)
                } then: { mayDescribeConfigs throws(GRPCStatus) in
                    var answer = Self.description(try topic(request.name))
                    if !mayDescribeConfigs { answer.configs = [] }
                    call.respond(answer)
                }
            },
            GRPCMethod(Self.name, "DeleteTopic") { (request: Martlet_V1_DeleteTopicRequest, call) in
                delete(request, call)
            },
        ]
    }

    private func create(_ request: Martlet_V1_CreateTopicRequest, _ call: GRPCCall) throws(GRPCStatus) {
        guard request.partitionCount >= 0 else {
            throw .invalid(
                "partition_count", "partition_count \(request.partitionCount) is negative; 0 is the broker's default"
            ).about("topic", request.name)
        }
        call.authorize { () throws(GRPCStatus) in
            try call.requireCreation(of: request.name)
        } then: { () throws(GRPCStatus) in
            try createAllowed(request, call)
        }
    }

    private func createAllowed(_ request: Martlet_V1_CreateTopicRequest, _ call: GRPCCall) throws(GRPCStatus) {
        guard !Engine.isOwnTopic(request.name) else { throw .internalTopic(request.name, field: "name") }
        let specification = TopicSpecification(
            name: request.name, partitions: request.partitionCount == 0 ? nil : request.partitionCount,
            overrides: request.configs)
        let audit = call.auditing("CreateTopic", "topic", request.name) { engine.topicState(request.name) }
        // What cannot be made is not charged, and says below why not.
        if let count = try? engine.topics.validate(specification) { try charge(count, of: request.name, call, audit) }
        engine.topics.create(specification, on: call.loop).whenComplete { result in
            audit(result.failure)
            switch result {
            case .success(let topic): call.respond(Martlet_V1_CreateTopicResponse.with { $0.topic = Self.message(topic) })
            case .failure(let error): call.fail(GRPCStatus(creating: error, topic: request.name, nameField: "name"))
            }
        }
    }

    private func delete(_ request: Martlet_V1_DeleteTopicRequest, _ call: GRPCCall) {
        call.authorize { () throws(GRPCStatus) in
            try call.require(.delete, .topic, request.name)
        } then: { () throws(GRPCStatus) in
            try deleteAllowed(request, call)
        }
    }

    private func deleteAllowed(_ request: Martlet_V1_DeleteTopicRequest, _ call: GRPCCall) throws(GRPCStatus) {
        guard !Engine.isOwnTopic(request.name) else { throw .internalTopic(request.name, field: "name") }
        let topic = try topic(request.name)
        guard !topic.isInternal else {
            throw GRPCStatus.internalTopic(topic.name, field: "name")
        }
        let audit = call.auditing("DeleteTopic", "topic", request.name) { engine.topicState(request.name) }
        try charge(Int32(clamping: topic.partitionCount), of: topic.name, call, audit)
        engine.topics.delete(topic.name, on: call.loop).whenComplete { result in
            audit(result.failure)
            switch result {
            case .success: call.respond(Martlet_V1_DeleteTopicResponse())
            case .failure(let error): call.fail(GRPCStatus(error).about("topic", request.name))
            }
        }
    }

    private func charge(
        _ partitions: Int32, of topic: String, _ call: GRPCCall, _ audit: ((any Error)?) -> Void
    ) throws(GRPCStatus) {
        do throws(GRPCStatus) {
            try call.chargeMutations(Int(partitions))
        } catch {
            audit(error)
            throw error.about("topic", topic)
        }
    }

    private func topic(_ name: String) throws(GRPCStatus) -> Topic {
        guard !name.isEmpty else { throw .invalid("name", "name is empty; name a topic") }
        guard let topic = engine.topics.topic(named: name) else {
            throw GRPCStatus.unknown(topic: name)
        }
        return topic
    }

    private static func message(_ topic: Topic) -> Martlet_V1_Topic {
        .with {
            $0.name = topic.name
            $0.id = topic.id.description
            $0.partitionCount = Int32(topic.partitionCount)
        }
    }

    private static func description(_ topic: Topic) -> Martlet_V1_DescribeTopicResponse {
        let configuration = topic.configuration
        return .with {
            $0.topic = message(topic)
            $0.partitions = topic.partitions.map { partition in
                let offsets = partition.offsets
                return .with {
                    $0.partition = partition.index
                    $0.startOffset = offsets.start
                    $0.endOffset = offsets.highWatermark
                    $0.sizeBytes = partition.sizeInBytes
                }
            }
            $0.configs = TopicConfigurationKey.all.sorted { $0.name < $1.name }.map { key in
                .with {
                    $0.name = key.name
                    $0.value = configuration.value(of: key)
                    $0.isOverride = configuration.overrides[key.name] != nil
                }
            }
        }
    }
}

extension Result {
    fileprivate var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
