// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: martlet.v1.Streams: its methods, and what they share.

import Contract
import Engine
import GRPCWire
import NIOCore

struct StreamsService: Sendable {
    static let name = "martlet.v1.Streams"

    let engine: Engine

    var methods: [GRPCMethod] {
        [
            GRPCMethod(Self.name, "Publish", .unary) { call, request in publish(request, call) },
            GRPCMethod(Self.name, "PublishStream", session: PublishStream.init),
            GRPCMethod(Self.name, "Subscribe", .serverStreaming) {
                (request: Martlet_V1_SubscribeRequest, call) throws(GRPCStatus) in
                try subscribe(request, call)
            },
            GRPCMethod(Self.name, "Commit") { (request: Martlet_V1_CommitRequest, call) throws(GRPCStatus) in
                try commit(request, call)
            },
            GRPCMethod(Self.name, "Committed") { (request: Martlet_V1_CommittedRequest, call) throws(GRPCStatus) in
                try committed(request, call)
            },
        ]
    }

    func partition(_ topic: String, _ index: Int32) throws(GRPCStatus) -> Partition {
        let topic = try self.topic(topic)
        guard let partition = topic.partition(index) else {
            throw GRPCStatus.unknown(
                topic: topic.name, partition: index, "topic \(topic.name) has no partition \(index), only 0 to \(topic.partitionCount - 1)")
        }
        return partition
    }

    func topic(_ name: String) throws(GRPCStatus) -> Topic {
        guard !name.isEmpty else { throw .invalid("topic", "topic is empty; name a topic") }
        guard let topic = engine.topics.topic(named: name) else {
            throw GRPCStatus.unknown(topic: name)
        }
        return topic
    }
}
