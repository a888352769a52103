// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: martlet.v1.Admin over an engine.

import Contract
import Engine
import GRPCWire
import NIOCore
import NIOEmbedded
import SwiftProtobuf
import Testing

@testable import GRPCServer

@Suite struct AdminServiceTests {
    private let fixture: Fixture
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        peer = try fixture.connect()
    }

    private func admin(_ method: String, _ request: some SwiftProtobuf.Message) throws -> Call {
        try peer.call("/martlet.v1.Admin/\(method)", request)
    }

    @Test func `A topic is created, listed, described and deleted`() throws {
        let create = Martlet_V1_CreateTopicRequest.with {
            $0.name = "orders"
            $0.partitionCount = 2
            $0.configs = ["retention.ms": "5000"]
        }
        let made = try #require(
            try admin("CreateTopic", create).decoded(Martlet_V1_CreateTopicResponse.self).first).topic
        #expect(made.name == "orders" && made.partitionCount == 2 && made.id.count == 22)
        #expect(try admin("CreateTopic", create).status == .alreadyExists)
        _ = try peer.publish("orders", ["a", "b"], partition: 1)
        let described = try #require(
            try admin("DescribeTopic", Martlet_V1_DescribeTopicRequest.with { $0.name = "orders" })
                .decoded(Martlet_V1_DescribeTopicResponse.self).first)
        #expect(described.topic == made)
        #expect(described.partitions.map(\.partition) == [0, 1] && described.partitions.map(\.endOffset) == [0, 2])
        #expect(described.partitions[0].sizeBytes == 0 && described.partitions[1].sizeBytes > 0)
        #expect(described.configs.map(\.name) == TopicConfigurationKey.all.map(\.name).sorted())
        let retention = try #require(described.configs.first { $0.name == "retention.ms" })
        #expect(retention.value == "5000" && retention.isOverride)
        #expect(described.configs.filter(\.isOverride).count == 1)
        let listed = try admin("ListTopics", Martlet_V1_ListTopicsRequest()).decoded(Martlet_V1_ListTopicsResponse.self)
        #expect(listed.flatMap(\.topics) == [made])
        let delete = Martlet_V1_DeleteTopicRequest.with { $0.name = "orders" }
        #expect(try admin("DeleteTopic", delete).status == .ok)
        #expect(try admin("DeleteTopic", delete).status == .notFound)
        #expect(fixture.engine.topics.topic(named: "orders") == nil)
    }

    @Test func `The default partition count is the broker's`() throws {
        let call = try admin("CreateTopic", Martlet_V1_CreateTopicRequest.with { $0.name = "plain" })
        #expect(try call.decoded(Martlet_V1_CreateTopicResponse.self).first?.topic.partitionCount == 1)
    }

    @Test(arguments: [
        ("", 1, [:], "name"), ("no/slash", 1, [:], "no/slash"), ("fine", -1, [:], "partition_count"),
        ("fine", 20_000, [:], "20000"), ("fine", 1, ["no.such.key": "1"], "no.such.key"),
        ("fine", 1, ["retention.ms": "soon"], "retention.ms"),
    ] as [(String, Int32, [String: String], String)])
    func `A topic that cannot be is refused with the reason`(
        name: String, partitions: Int32, configs: [String: String], word: String
    ) throws {
        let call = try admin(
            "CreateTopic",
            Martlet_V1_CreateTopicRequest.with {
                $0.name = name
                $0.partitionCount = partitions
                $0.configs = configs
            })
        #expect(call.status == .invalidArgument && call.message.contains(word), "\(call.message)")
        #expect(fixture.engine.topics.topic(named: name) == nil)
    }

    @Test func `The broker's own topics are described, not listed, not deleted`() throws {
        let made = fixture.engine.topics.create(TopicSpecification(name: "__own", isInternal: true), on: fixture.loop)
        fixture.loop.run()
        _ = try made.wait()
        #expect(try admin("DescribeTopic", Martlet_V1_DescribeTopicRequest.with { $0.name = "__own" }).status == .ok)
        let listed = try admin("ListTopics", Martlet_V1_ListTopicsRequest())
        #expect(try listed.decoded(Martlet_V1_ListTopicsResponse.self).flatMap(\.topics).isEmpty)
        #expect(try admin("DeleteTopic", Martlet_V1_DeleteTopicRequest.with { $0.name = "__own" }).status == .invalidArgument)
    }

    @Test func `Missing and unnamed topics are told apart`() throws {
        for method in ["DescribeTopic", "DeleteTopic"] {
            let missing = try admin(method, Martlet_V1_DescribeTopicRequest.with { $0.name = "missing" })
            #expect(missing.status == .notFound && missing.message.contains("missing"))
            #expect(try admin(method, Martlet_V1_DescribeTopicRequest()).status == .invalidArgument)
        }
    }

    @Test func `Bytes that are no message are an invalid argument that names the type`() throws {
        let call = try peer.open("/martlet.v1.Admin/CreateTopic")
        call.send(.init(bytes: [0, 0, 0, 0, 2, 0xff, 0xff]), end: true)
        try peer.run()
        #expect(call.status == .invalidArgument && call.message.contains("martlet.v1.CreateTopicRequest"))
    }
}
