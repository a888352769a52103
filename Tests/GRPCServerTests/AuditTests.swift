// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: every method that changes something is audited, or it is said here why not.

import Contract
import Engine
import Foundation
import GRPCWire
import NIOCore
import NIOEmbedded
import SwiftProtobuf
import TestSupport
import Testing

@testable import GRPCServer

@Suite struct AuditTests {
    private let lines = AuditLines()
    private let fixture: Fixture
    private let peer: Peer

    init() throws {
        fixture = try Fixture(audit: lines.log())
        peer = try fixture.connect()
    }

    /// Methods without events of changes: they read, or deal with records, or with what members of groups do all day.
    private static let notAudited: Set<String> = [
        "/martlet.v1.Admin/ListTopics", "/martlet.v1.Admin/DescribeTopic",
        "/martlet.v1.Streams/Publish", "/martlet.v1.Streams/PublishStream", "/martlet.v1.Streams/Subscribe",
        "/martlet.v1.Streams/Committed", "/martlet.v1.Work/DescribeDeadLetters",
        "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ]

    private typealias Change = (path: String, resource: String, before: String, after: String, call: () throws -> Void)

    /// In an order in which each finds what it needs.
    private var changes: [Change] {
        [
            ("/martlet.v1.Admin/CreateTopic", "topic", "null", #"{"partitions":"1"}"#, {
                try succeed("/martlet.v1.Admin/CreateTopic", Martlet_V1_CreateTopicRequest.with { $0.name = "jobs" })
            }),
            ("/martlet.v1.Streams/Commit", "offsets", "null", #"{"jobs-0":"7"}"#, {
                let call = try commit(7)
                #expect(call.status == .ok)
            }),
            ("/martlet.v1.Work/Receive", "group", "{}", #"{"errors.deadletterqueue.topic.name":"dlq.workers","share.auto.offset.reset":"earliest"}"#, { try work() }),
            ("/martlet.v1.Work/Redrive", "dead letters", "null", #"{"redriven":"1","skipped":"0"}"#, { try redrive() }),
            ("/martlet.v1.Admin/DeleteTopic", "topic", #"{"partitions":"1"}"#, "null", {
                try succeed("/martlet.v1.Admin/DeleteTopic", Martlet_V1_DeleteTopicRequest.with { $0.name = "jobs" })
            }),
        ]
    }

    private func succeed(_ path: String, _ request: some SwiftProtobuf.Message) throws {
        let call = try peer.call(path, request)
        #expect(call.status == .ok, "\(call.message)")
    }

    private func commit(_ offset: Int64, member: String = "") throws -> Call {
        try peer.call(
            "/martlet.v1.Streams/Commit",
            Martlet_V1_CommitRequest.with {
                $0.group = "readers"
                $0.memberID = member
                $0.offsets = [
                    .with {
                        $0.topic = "jobs"
                        $0.offset = offset
                    }
                ]
            })
    }

    private func work() throws {
        let call = try peer.open("/martlet.v1.Work/Receive")
        let request = Martlet_V1_ReceiveRequest.with {
            $0.open.group = "workers"
            $0.open.topics = ["jobs"]
            $0.open.origin = .earliest
        }
        call.send(.frame(ByteBuffer(bytes: try request.serializedBytes() as [UInt8])), end: false)
        try peer.run()
        #expect(call.status == nil, "\(call.message)")
    }

    private func redrive() throws {
        let headers = [("__dlq.errors.topic", "jobs"), ("__dlq.errors.partition", "0"), ("__dlq.errors.group", "workers")]
        let letter = Martlet_V1_PublishRequest.with {
            $0.topic = "dlq.workers"
            $0.records = [
                .with {
                    $0.value = Data("a-secret-payload".utf8)
                    $0.headers = headers.map { entry in .with { $0.key = entry.0; $0.value = Data(entry.1.utf8) } }
                }
            ]
        }
        try succeed("/martlet.v1.Streams/Publish", letter)
        try succeed("/martlet.v1.Work/Redrive", Martlet_V1_RedriveRequest.with { $0.deadLetterTopic = "dlq.workers" })
    }

    @Test func `Every method is audited, or says why not`() throws {
        let served = Set(fixture.server.router.methods.map(\.path))
        let audited = Set(changes.map(\.path))
        #expect(audited.isDisjoint(with: Self.notAudited))
        #expect(served.subtracting(audited).subtracting(Self.notAudited).isEmpty, "a new method: is it audited, or why not?")
        #expect(audited.union(Self.notAudited).isSubset(of: served))
    }

    @Test func `A change has one event with the state before and after`() throws {
        for (path, resource, before, after, call) in changes {
            let known = lines.all.count
            try call()
            let name = try #require(path.split(separator: "/").last)
            let events = lines.all.dropFirst(known).filter { $0.contains("\"operation\":\"\(name)\"") }
            #expect(events.count == 1, "\(path): \(lines.all.dropFirst(known))")
            let event = events.first ?? ""
            #expect(event.contains("\"event\":\"change\"") && event.contains("\"resource\":\"\(resource)\""), "\(event)")
            #expect(event.contains("\"before\":\(before)") && event.contains("\"after\":\(after)"), "\(event)")
            #expect(event.contains(#""protocol":"grpc""#) && event.contains(#""outcome":"succeeded""#), "\(event)")
        }
        #expect(lines.having("payload").isEmpty)
        // What has not changed is no change.
        _ = try fixture.topic("jobs")
        let known = lines.all.count
        try work()
        #expect(lines.all.count == known)
    }

    @Test func `What fails has an event with its cause, and a member's commit has none`() throws {
        _ = try fixture.topic("jobs")
        let request = Martlet_V1_CreateTopicRequest.with { $0.name = "jobs" }
        #expect(try peer.call("/martlet.v1.Admin/CreateTopic", request).status == .alreadyExists)
        #expect(lines.having("CreateTopic", #""outcome":"failed""#, #""cause":"#).count == 1)
        #expect(try commit(1, member: "nobody").status != .ok)
        #expect(lines.having("Commit").isEmpty)
    }

    @Test func `What is only left out of a list is no denial`() throws {
        for name in ["jobs", "secret"] { _ = try fixture.topic(name) }
        let added = fixture.loop.makePromise(of: Void.self)
        let rule = AccessRule(.allow, "User:ANONYMOUS", .read, .topic, "jobs")
        fixture.engine.access.add([rule], on: fixture.loop) { added.completeWith($0.mapError { $0 as any Error }) }
        fixture.loop.run()
        let listed = try peer.call("/martlet.v1.Admin/ListTopics", Martlet_V1_ListTopicsRequest())
        #expect(try listed.decoded(Martlet_V1_ListTopicsResponse.self).first?.topics.map(\.name) == ["jobs"])
        let pattern = try peer.subscribe("") { $0.topics = []; $0.topicPattern = "*"; $0.untilEnd = true }
        #expect(pattern.status == .ok)
        #expect(lines.all.isEmpty)
        #expect(try peer.subscribe("secret").status == .permissionDenied)
        #expect(lines.having(#""outcome":"denied""#, "secret").count == 1)
    }
}
