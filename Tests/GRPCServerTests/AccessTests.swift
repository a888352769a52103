// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: access rules and passwords decide over gRPC what they decide over Kafka's protocol.

import Bytes
import Contract
import Engine
import Foundation
import GRPCWire
import NIOCore
import NIOEmbedded
import Security
import SwiftProtobuf
import Synchronization
import Telemetry
import Testing
import Transport

@testable import GRPCServer

@Suite struct AccessTests {
    private func allow(_ fixture: Fixture, _ rules: [AccessRule]) throws {
        let added = fixture.loop.makePromise(of: Void.self)
        fixture.engine.access.add(rules, on: fixture.loop) { added.completeWith($0.mapError { $0 as any Error }) }
        fixture.loop.run()
        try added.futureResult.wait()
    }

    private func streamed(_ peer: Peer, _ topic: String) throws -> Martlet_V1_PublishResult? {
        let call = try peer.open("/martlet.v1.Streams/PublishStream")
        let request = Martlet_V1_PublishStreamRequest.with {
            $0.topic = topic
            $0.records = [.with { $0.value = Data("x".utf8) }]
        }
        call.send(.frame(ByteBuffer(bytes: try request.serializedBytes() as [UInt8])), end: true)
        try peer.run()
        return try call.decoded(Martlet_V1_PublishStreamResponse.self).flatMap(\.results).first
    }

    @Test func `What no rule allows is PERMISSION_DENIED once there are rules`() throws {
        let fixture = try Fixture()
        let peer = try fixture.connect()
        #expect(try peer.publish("orders", ["x"]).status == .ok)
        try allow(fixture, [AccessRule(.allow, "User:other", .read, .topic, "orders")])
        #expect(try peer.publish("orders", ["x"]).status == .permissionDenied)
        #expect(try peer.publish("fresh", ["x"]).status == .permissionDenied)
        #expect(try streamed(peer, "orders")?.error.code == 7)
        #expect(try peer.subscribe("orders").status == .permissionDenied)
        let described = try peer.call("/martlet.v1.Admin/DescribeTopic", Martlet_V1_DescribeTopicRequest.with { $0.name = "orders" })
        #expect(described.status == .permissionDenied)
        let deleted = try peer.call("/martlet.v1.Admin/DeleteTopic", Martlet_V1_DeleteTopicRequest.with { $0.name = "orders" })
        #expect(deleted.status == .permissionDenied)
        let created = try peer.call("/martlet.v1.Admin/CreateTopic", Martlet_V1_CreateTopicRequest.with { $0.name = "new" })
        #expect(created.status == .permissionDenied)
        let listed = try peer.call("/martlet.v1.Admin/ListTopics", Martlet_V1_ListTopicsRequest())
        #expect(try listed.decoded(Martlet_V1_ListTopicsResponse.self).first?.topics.isEmpty == true)
        let committed = try peer.call("/martlet.v1.Streams/Committed", Martlet_V1_CommittedRequest.with { $0.group = "g" })
        #expect(committed.status == .permissionDenied)
        let pattern = try peer.subscribe("") { $0.topics = []; $0.topicPattern = "*"; $0.untilEnd = true }
        #expect(try pattern.status == .ok && pattern.records().isEmpty)
    }

    @Test func `Denials and logins are counted, and a stream whose caller goes for a refusal by that`() throws {
        let fixture = try Fixture(requiresLogin: true)
        _ = try fixture.topic("orders")
        let key = CredentialKey(user: "alice", mechanism: .sha256)
        let credential = ScramCredential(mechanism: .sha256, password: "secret", salt: [7], iterations: 4_096)
        fixture.engine.access.set([key: credential], on: fixture.loop) { _ in }
        try allow(fixture, [AccessRule(.allow, "User:other", .read, .topic, "orders")])
        let peer = try fixture.connect()
        func counted(_ name: String) throws -> Int {
            let line = fixture.metrics.text().split(separator: "\n").first { $0.hasPrefix("martlet_\(name){protocol=\"grpc\"} ") }
            return try #require(line.flatMap { Int($0.split(separator: " ")[1]) })
        }
        func list(_ authorization: String?) throws -> GRPCStatus.Code? {
            let extra = authorization.map { [("authorization", $0)] } ?? []
            return try peer.call("/martlet.v1.Admin/ListTopics", Martlet_V1_ListTopicsRequest(), extra: extra).status
        }
        func basic(_ text: String) -> String { "Basic " + Base64.encode(Array(text.utf8)) }
        // Who says nothing has not tried.
        #expect(try list(nil) == .unauthenticated && counted("logins_failed_total") == 0)
        for wrong in [basic("alice:wrong"), basic("nobody:secret"), "Bearer abc", "Basic !!!", "guess"] {
            #expect(try list(wrong) == .unauthenticated)
        }
        #expect(try counted("logins_failed_total") == 5 && counted("logins_total") == 0)
        #expect(try list(basic("alice:secret")) == .ok && counted("logins_total") == 1)
        #expect(try counted("access_denied_total") == 0)
        let call = try peer.open("/martlet.v1.Streams/PublishStream", extra: [("authorization", basic("alice:secret"))])
        let request = Martlet_V1_PublishStreamRequest.with {
            $0.topic = "orders"
            $0.records = [.with { $0.value = Data("x".utf8) }]
        }
        call.send(.frame(ByteBuffer(bytes: try request.serializedBytes() as [UInt8])), end: false)
        try peer.run()
        #expect(try call.decoded(Martlet_V1_PublishStreamResponse.self).flatMap(\.results).first?.error.code == 7)
        call.cancel()
        try peer.run()
        #expect(try counted("access_denied_total") == 1)
        let calls = fixture.metrics.text().split(separator: "\n").filter { $0.contains("martlet_grpc_calls_total{method=\"/martlet.v1.Streams/PublishStream\"") }
        #expect(calls.contains { $0.hasSuffix("code=\"PERMISSION_DENIED\"} 1") } && !calls.contains { $0.contains("CANCELLED") })
    }

    @Test func `A page that names topics wants of other machines what a call wants`() throws {
        let fixture = try Fixture(logins: ByListener(GRPCLogins(passwords: true, tokens: true)))
        let key = CredentialKey(user: "alice", mechanism: .sha256)
        let credential = ScramCredential(mechanism: .sha256, password: "secret", salt: [7], iterations: 4_096)
        fixture.engine.access.set([key: credential], on: fixture.loop) { _ in }
        func refusal(_ authorization: String?, address: String = "10.0.0.7", isTLS: Bool = true) throws -> HTTPLoginRefusal? {
            let answers = Mutex<[HTTPLoginRefusal?]>([])
            let peer = ConnectionContext(
                id: 1, localHost: "10.0.0.1", localPort: 9092, remoteAddress: address, remotePort: 5, isTLS: isTLS)
            fixture.server.admitToPage(authorization, peer, on: fixture.loop) { answer in answers.withLock { $0.append(answer) } }
            fixture.loop.run()
            let all = answers.withLock { $0 }
            #expect(all.count == 1)
            return try #require(all.first)
        }
        func basic(_ text: String) -> String { "Basic " + Base64.encode(Array(text.utf8)) }
        #expect(try refusal(nil, address: "127.0.0.1", isTLS: false) == nil)
        #expect(try refusal(nil, address: "::1") == nil)
        let asked = try #require(try refusal(nil))
        #expect(asked.challenges.map { $0.prefix(6) } == ["Basic ", "Bearer"])
        #expect(try refusal(basic("alice:secret")) == nil)
        for wrong in [basic("alice:wrong"), basic("bob:secret"), "Bearer a.b.c", "guess", ""] { #expect(try refusal(wrong) != nil) }
        // A password in plaintext was heard by others, right or not.
        #expect(try refusal(basic("alice:secret"), isTLS: false)?.message.contains("over TLS only") == true)
    }

    @Test func `A rule opens exactly what it says`() throws {
        let fixture = try Fixture()
        let peer = try fixture.connect()
        #expect(try peer.publish("orders", ["x"]).status == .ok)
        try allow(
            fixture,
            [
                AccessRule(.allow, "User:ANONYMOUS", .read, .topic, "orders"),
                AccessRule(.allow, "User:ANONYMOUS", .write, .topic, "ord", pattern: .prefixed),
            ])
        #expect(try peer.subscribe("orders") { $0.untilEnd = true }.values() == ["x"])
        #expect(try peer.publish("orders", ["y"]).status == .ok)
        #expect(try streamed(peer, "orders")?.batches.first?.baseOffset == 2)
        #expect(try peer.subscribe("orders") { $0.group = "g" }.status == .permissionDenied)
    }

    private func work(_ peer: Peer, _ edit: (inout Martlet_V1_WorkOpen) -> Void = { _ in }) throws -> Call {
        let call = try peer.open("/martlet.v1.Work/Receive")
        let request = Martlet_V1_ReceiveRequest.with {
            $0.open.group = "workers"
            $0.open.topics = ["jobs"]
            edit(&$0.open)
        }
        call.send(.frame(ByteBuffer(bytes: try request.serializedBytes() as [UInt8])), end: false)
        try peer.run()
        return call
    }

    private func rule(_ operation: AccessOperation, _ resource: ResourceType, _ name: String) -> AccessRule {
        AccessRule(.allow, "User:ANONYMOUS", operation, resource, name)
    }

    @Test func `A worker needs its group and every one of its topics`() throws {
        let fixture = try Fixture()
        for name in ["jobs", "others"] { _ = try fixture.topic(name) }
        let peer = try fixture.connect()
        try allow(fixture, [AccessRule(.allow, "User:other", .read, .topic, "jobs")])
        #expect(try work(peer).status == .permissionDenied)
        try allow(fixture, [rule(.read, .topic, "jobs")])
        let groupless = try work(peer)
        #expect(groupless.status == .permissionDenied && groupless.message.contains("workers"))
        try allow(fixture, [rule(.read, .group, "workers")])
        let worker = try work(peer)
        #expect(worker.status == nil, "\(worker.message)")
        let both = try work(peer) { $0.topics = ["jobs", "others"] }
        #expect(both.status == .permissionDenied && both.message.contains("others"))
    }

    @Test func `Where a group's dead letters go is for those who may configure it and write there`() throws {
        let fixture = try Fixture()
        _ = try fixture.topic("jobs")
        let peer = try fixture.connect()
        try allow(fixture, [rule(.read, .topic, "jobs"), rule(.read, .group, "workers")])
        #expect(try work(peer).status == nil)
        #expect(try work(peer) { $0.deadLetterTopic = "dlq.workers" }.status == nil)
        #expect(try work(peer) { $0.deadLetterTopic = "dlq.payroll" }.status == .permissionDenied)
        #expect(try work(peer) { $0.deadLetterTopic = "" }.status == .permissionDenied)
        try allow(fixture, [rule(.alterConfigs, .group, "workers")])
        let denied = try work(peer) { $0.deadLetterTopic = "dlq.payroll" }
        #expect(denied.status == .permissionDenied && denied.message.contains("dlq.payroll"))
        try allow(fixture, [rule(.write, .topic, "dlq.payroll")])
        #expect(try work(peer) { $0.deadLetterTopic = "dlq.payroll" }.status == nil)
        #expect(try work(peer) { $0.deadLetterTopic = "" }.status == nil)
    }

    private func deny(_ fixture: Fixture, _ rules: [AccessRule]) {
        fixture.engine.access.remove(rules, on: fixture.loop) { _ in }
        fixture.loop.run()
    }

    @Test func `An open subscription ends when its caller may not read any more`() throws {
        let fixture = try Fixture()
        for name in ["orders", "others"] { _ = try fixture.topic(name) }
        let peer = try fixture.connect()
        let (orders, others) = (rule(.read, .topic, "orders"), rule(.read, .topic, "others"))
        try allow(fixture, [orders, others])
        let named = try peer.subscribe("orders")
        let untouched = try peer.subscribe("others")
        let pattern = try peer.subscribe("") { $0.topics = []; $0.topicPattern = "o*" }
        deny(fixture, [orders])
        try peer.run()
        #expect(named.status == .permissionDenied && named.message.contains("orders"))
        #expect(untouched.status == nil && pattern.status == nil)
        // What is published now is for the others.
        for (topic, value) in [("orders", "secret"), ("others", "x")] {
            try fixture.append([value], to: try #require(fixture.engine.topics.topic(named: topic)?.partition(0)))
        }
        try peer.run()
        #expect(try named.values().isEmpty && untouched.values() == ["x"] && pattern.values() == ["x"])
    }

    @Test func `A worker ends when it may not have the work any more, and what it held is for others`() throws {
        let fixture = try Fixture()
        let topic = try fixture.topic("jobs")
        try fixture.append(["a"], to: try #require(topic.partition(0)))
        let peer = try fixture.connect()
        let group = rule(.read, .group, "workers")
        try allow(fixture, [rule(.read, .topic, "jobs"), group])
        let worker = try work(peer) { $0.origin = .earliest }
        #expect(worker.status == nil)
        deny(fixture, [group])
        try peer.run()
        #expect(worker.status == .permissionDenied && worker.message.contains("workers"))
        try allow(fixture, [group])
        let next = try work(peer)
        let items = try next.decoded(Martlet_V1_ReceiveResponse.self).flatMap(\.items.items)
        #expect(items.map { String(decoding: $0.value, as: UTF8.self) } == ["a"])
    }

    @Test func `A stream ends with the user who began it`() throws {
        let fixture = try Fixture(requiresLogin: true)
        _ = try fixture.topic("orders")
        let peer = try fixture.connect()
        let key = CredentialKey(user: "alice", mechanism: .sha256)
        let credential = ScramCredential(mechanism: .sha256, password: "secret", salt: [7], iterations: 4_096)
        fixture.engine.access.set([key: credential], on: fixture.loop) { _ in }
        fixture.loop.run()
        let alice = [("authorization", "Basic " + Base64.encode(Array("alice:secret".utf8)))]
        let request = Martlet_V1_SubscribeRequest.with { $0.topics = [.with { $0.topic = "orders" }] }
        let call = try peer.call("/martlet.v1.Streams/Subscribe", request, extra: alice)
        #expect(call.status == nil)
        fixture.engine.access.set([key: nil], on: fixture.loop) { _ in }
        fixture.loop.run()
        try peer.run()
        #expect(call.status == .unauthenticated && call.message.contains("removed"))
    }

    @Test func `Redriving needs to read the dead letters, and to write where they go`() throws {
        let fixture = try Fixture()
        for name in ["jobs", "dlq.workers"] { _ = try fixture.topic(name) }
        let peer = try fixture.connect()
        let headers = [("__dlq.errors.topic", "jobs"), ("__dlq.errors.partition", "0"), ("__dlq.errors.group", "workers")]
        let letter = try peer.call(
            "/martlet.v1.Streams/Publish",
            Martlet_V1_PublishRequest.with {
                $0.topic = "dlq.workers"
                $0.records = [
                    .with {
                        $0.value = Data("x".utf8)
                        $0.headers = headers.map { entry in .with { $0.key = entry.0; $0.value = Data(entry.1.utf8) } }
                    }
                ]
            })
        #expect(letter.status == .ok)
        func redrive(group: String = "") throws -> Call {
            try peer.call(
                "/martlet.v1.Work/Redrive",
                Martlet_V1_RedriveRequest.with {
                    $0.deadLetterTopic = "dlq.workers"
                    $0.group = group
                })
        }
        try allow(fixture, [AccessRule(.allow, "User:other", .read, .topic, "jobs")])
        #expect(try redrive().status == .permissionDenied)
        try allow(fixture, [rule(.read, .topic, "dlq.workers")])
        let kept = try redrive()
        #expect(kept.status == .ok)
        #expect(try kept.decoded(Martlet_V1_RedriveResponse.self).first?.skipped == 1)
        #expect(try redrive(group: "workers").status == .permissionDenied)
        try allow(fixture, [rule(.write, .topic, "jobs")])
        #expect(try redrive().decoded(Martlet_V1_RedriveResponse.self).first?.redriven == 1)
    }

    @Test func `A member needs its group and its topics, and a pattern passes over what it may not read`() throws {
        let fixture = try Fixture()
        for name in ["jobs", "jobs-secret"] { _ = try fixture.topic(name) }
        let peer = try fixture.connect()
        func join(_ edit: (inout Martlet_V1_SubscribeRequest) -> Void = { _ in }) throws -> Call {
            let call = try peer.subscribe("jobs") {
                $0.member.group = "readers"
                edit(&$0)
            }
            for _ in 0..<20 {
                fixture.clock.advance(ms: 1000)
                fixture.loop.advanceTime(by: .seconds(1))
                try peer.run()
            }
            return call
        }
        try allow(fixture, [rule(.read, .topic, "jobs")])
        let groupless = try join()
        #expect(groupless.status == .permissionDenied && groupless.message.contains("readers"))
        try allow(fixture, [rule(.read, .group, "readers")])
        let member = try join()
        #expect(member.status == nil)
        let assignment = try member.decoded(Martlet_V1_SubscribeResponse.self).last(where: \.hasAssignment)?.assignment
        #expect(assignment?.partitions.map(\.topic) == ["jobs"])
        member.cancel()
        try peer.run()
        #expect(try join { $0.topics = [.with { $0.topic = "jobs-secret" }] }.status == .permissionDenied)
        let pattern = try join { $0.topics = []; $0.topicPattern = "jobs*" }
        #expect(pattern.status == nil)
        let matched = try pattern.decoded(Martlet_V1_SubscribeResponse.self).last(where: \.hasAssignment)?.assignment
        #expect(matched?.partitions.map(\.topic) == ["jobs"], "a pattern shows nobody what they may not read")
    }

    @Test func `Where passwords are wanted, a call without one is UNAUTHENTICATED, and health is not`() throws {
        let fixture = try Fixture(requiresLogin: true)
        let peer = try fixture.connect()
        #expect(try peer.publish("orders", ["x"]).status == .unauthenticated)
        let health = try peer.call("/grpc.health.v1.Health/Check", Grpc_Health_V1_HealthCheckRequest())
        #expect(health.status == .ok)
        for wrong in ["Bearer abc", "Basic", "Basic !!!", "Basic " + Base64.encode(Array("nobody".utf8))] {
            let call = try peer.call(
                "/martlet.v1.Admin/ListTopics", Martlet_V1_ListTopicsRequest(), extra: [("authorization", wrong)])
            #expect(call.status == .unauthenticated)
        }
        let unknown = try peer.call(
            "/martlet.v1.Admin/ListTopics", Martlet_V1_ListTopicsRequest(),
            extra: [("authorization", "Basic " + Base64.encode(Array("nobody:secret".utf8)))])
        #expect(unknown.status == .unauthenticated && unknown.message.contains("wrong"))
    }

    /// Three listeners: nobody, who has no certificate, and everybody has to log in.
    @Test func `Of whom a login is wanted is the listener's to say`() throws {
        let fixture = try Fixture(
            logins: ByListener(
                GRPCLogins(),
                own: ["some": GRPCLogins(passwords: true), "all": GRPCLogins(passwords: true, areForAll: true)]))
        func publish(_ listener: String, certificate: Bool) throws -> Call {
            let peer = try fixture.connect {
                $0.listenerName = listener
                guard certificate else { return }
                $0.isTLS = true
                $0.principal = "User:CN=client"
                $0.peerCertificate = PeerCertificate(
                    subject: "CN=client", issuer: "CN=ca", notBeforeMs: 0, notAfterMs: .max, serial: "01")
            }
            let health = try peer.call("/grpc.health.v1.Health/Check", Grpc_Health_V1_HealthCheckRequest())
            #expect(health.status == .ok)
            return try peer.publish("orders", ["x"])
        }
        #expect(try publish("none", certificate: false).status == .ok)
        #expect(try publish("some", certificate: true).status == .ok)
        let either = try publish("some", certificate: false)
        #expect(either.status == .unauthenticated && either.message.hasSuffix("or a client certificate"))
        let both = try publish("all", certificate: true)
        #expect(both.status == .unauthenticated && !both.message.contains("certificate"))
        #expect(try publish("all", certificate: false).status == .unauthenticated)
    }

    @Test func `A name and its password are who calls, for gRPC and for a page`() throws {
        let fixture = try Fixture(requiresLogin: true)
        let peer = try fixture.connect()
        let key = CredentialKey(user: "alice", mechanism: .sha256)
        let credential = ScramCredential(
            mechanism: .sha256, password: "se:cret", salt: Array(repeating: 7, count: 16), iterations: 4096)
        let made = fixture.loop.makePromise(of: Void.self)
        fixture.engine.access.set([key: credential], on: fixture.loop) { made.completeWith($0.mapError { $0 as any Error }) }
        fixture.loop.run()
        try made.futureResult.wait()
        try allow(fixture, [AccessRule(.allow, "User:alice", .describe, .topic, "*")])
        _ = try fixture.topic("orders")
        let alice = [("authorization", "Basic " + Base64.encode(Array("alice:se:cret".utf8)))]
        let listed = try peer.call("/martlet.v1.Admin/ListTopics", Martlet_V1_ListTopicsRequest(), extra: alice)
        #expect(try listed.decoded(Martlet_V1_ListTopicsResponse.self).first?.topics.map(\.name) == ["orders"])
        let denied = try peer.call(
            "/martlet.v1.Admin/DeleteTopic", Martlet_V1_DeleteTopicRequest.with { $0.name = "orders" }, extra: alice)
        #expect(denied.status == .permissionDenied && denied.message.contains("User:alice"))
    }
}
