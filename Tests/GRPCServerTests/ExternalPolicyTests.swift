// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: calls that wait for an external policy: nothing happens before, and streams keep their order.

import Bytes
import Contract
import Engine
import Foundation
import GRPCWire
import NIOCore
import NIOEmbedded
import Records
import Security
import SwiftProtobuf
import TestSupport
import Testing

@testable import GRPCServer

@Suite struct ExternalPolicyTests {
    private let policy = TestPolicy()

    private func end(_ fixture: Fixture, _ topic: String) -> Int64? {
        fixture.engine.topics.topic(named: topic)?.partition(0)?.offsets.highWatermark
    }

    private func answerAll(_ peer: Peer, _ decide: (AccessQuestion) -> PolicyAnswer = { _ in .allowed }) throws {
        while !policy.open.isEmpty {
            policy.answer(decide)
            try peer.run()
        }
    }

    @Test(arguments: [PolicyAnswer.denied, .failed("it is down")])
    func `A call that is not allowed does nothing`(answer: PolicyAnswer) throws {
        let fixture = try Fixture(policy: policy)
        _ = try fixture.topic("orders")
        let peer = try fixture.connect()
        let call = try peer.publish("orders", ["x"])
        #expect(call.status == nil && policy.open.map(\.question.client.wire) == ["grpc"])
        try answerAll(peer) { _ in answer }
        #expect(call.status == .permissionDenied && end(fixture, "orders") == 0)
    }

    @Test func `A call waits for its decision, and for that of the topic it makes`() throws {
        let fixture = try Fixture(policy: policy)
        let peer = try fixture.connect()
        let call = try peer.publish("orders", ["x"])
        #expect(call.status == nil && fixture.engine.topics.topic(named: "orders") == nil)
        policy.answer(.allowed)
        try peer.run()
        #expect(call.status == nil && fixture.engine.topics.topic(named: "orders") == nil)
        #expect(Set(policy.open.map(\.question.resource)) == [.cluster, .topic])
        #expect(policy.open.allSatisfy { $0.question.operation == .create })
        // Not for the whole broker, but for this topic.
        try answerAll(peer) { $0.resource == .topic ? .allowed : .denied }
        #expect(call.status == .ok && end(fixture, "orders") == 1)
    }

    @Test func `A call whose caller has gone does nothing`() throws {
        let fixture = try Fixture(policy: policy)
        _ = try fixture.topic("orders")
        let peer = try fixture.connect()
        let call = try peer.publish("orders", ["x"])
        call.cancel()
        try peer.run()
        try answerAll(peer)
        #expect(end(fixture, "orders") == 0)
    }

    @Test func `What waits for decisions is bounded in bytes`() throws {
        let fixture = try Fixture(policy: policy)
        _ = try fixture.topic("orders")
        let peer = try fixture.connect()
        let large = String(repeating: "x", count: 700_000)
        let calls = try (0..<8).map { _ in try peer.publish("orders", [large]) }
        let refused = calls.filter { $0.status == .resourceExhausted }
        #expect(!refused.isEmpty && refused.count < 8)
        try answerAll(peer)
        #expect(end(fixture, "orders") == Int64(8 - refused.count))
        #expect(try peer.publish("orders", [large]).status == .ok)
    }

    private func frame(_ edit: (inout Martlet_V1_PublishStreamRequest) -> Void) throws -> ByteBuffer {
        .frame(ByteBuffer(bytes: try Martlet_V1_PublishStreamRequest.with(edit).serializedBytes() as [UInt8]))
    }

    @Test func `Requests of a stream take effect and are answered in their order`() throws {
        let fixture = try Fixture(policy: policy)
        for name in ["known", "new", "no"] { _ = try fixture.topic(name) }
        let peer = try fixture.connect()
        _ = try peer.publish("known", ["x"])
        try answerAll(peer)
        let call = try peer.open("/martlet.v1.Streams/PublishStream")
        for (index, topic) in ["known", "new", "no", "known"].enumerated() {
            let request = try frame {
                $0.topic = topic
                $0.records = [.with { $0.value = Data("\(index)".utf8) }]
            }
            call.send(request, end: index == 3)
        }
        try peer.run()
        #expect(end(fixture, "known") == 2 && end(fixture, "new") == 0)
        try answerAll(peer) { $0.name == "no" ? .denied : .allowed }
        let results = try call.decoded(Martlet_V1_PublishStreamResponse.self).flatMap(\.results)
        #expect(results.map { $0.batches.first?.baseOffset ?? -1 } == [1, 0, -1, 2])
        #expect(results.map { $0.hasError ? $0.error.code : 0 } == [0, 0, 7, 0])
        #expect(call.status == .ok)
    }

    private func change(_ fixture: Fixture, _ rule: AccessRule) throws {
        fixture.engine.access.add([rule], on: fixture.loop) { _ in }
        fixture.loop.run()
    }

    private let elsewhere = AccessRule(.deny, "User:other", .read, .topic, "elsewhere")

    private func work(_ peer: Peer) throws -> Call {
        let call = try peer.open("/martlet.v1.Work/Receive")
        let open = Martlet_V1_ReceiveRequest.with {
            $0.open.group = "workers"
            $0.open.topics = ["orders"]
            $0.open.origin = .earliest
        }
        call.send(.frame(ByteBuffer(bytes: try open.serializedBytes() as [UInt8])), end: false)
        try peer.run()
        return call
    }

    @Test(arguments: [PolicyAnswer.allowed, .denied, .failed("it is down")])
    func `What is open is asked about anew when rules change, if what was said has expired`(answer: PolicyAnswer) throws {
        let fixture = try Fixture(policy: policy)
        let partition = try #require(try fixture.topic("orders").partition(0))
        let peer = try fixture.connect()
        let named = try peer.subscribe("orders")
        try answerAll(peer)
        let pattern = try peer.subscribe("") {
            $0.topics = []
            $0.topicPattern = "ord*"
        }
        try answerAll(peer)
        let worker = try work(peer)
        try answerAll(peer)
        let calls = [named, pattern, worker]
        #expect(calls.allSatisfy { $0.status == nil })
        // What is remembered is good for its time, also when rules change.
        try change(fixture, elsewhere)
        try peer.run()
        #expect(policy.open.isEmpty && calls.allSatisfy { $0.status == nil })
        fixture.clock.advance(ms: 60_001)
        try change(fixture, AccessRule(.deny, "User:other", .write, .topic, "elsewhere"))
        try peer.run()
        #expect(Set(policy.open.map(\.question.name)) == ["orders", "workers"] && calls.allSatisfy { $0.status == nil })
        try answerAll(peer) { _ in answer }
        try fixture.append(["later"], to: partition)
        try peer.run()
        if answer == .allowed {
            #expect(calls.allSatisfy { $0.status == nil })
            #expect(try named.values() == ["later"] && pattern.values() == ["later"])
            return
        }
        // What was named ends the stream; what a pattern has found is passed over.
        #expect(named.status == .permissionDenied && worker.status == .permissionDenied && pattern.status == nil)
        #expect(try named.values().isEmpty && pattern.values().isEmpty)
    }

    @Test func `A rule that denies ends what is open while the policy is asked, and late answers change nothing`() throws {
        let fixture = try Fixture(policy: policy)
        _ = try fixture.topic("orders")
        let peer = try fixture.connect()
        let call = try peer.subscribe("orders")
        try answerAll(peer)
        fixture.clock.advance(ms: 60_001)
        try change(fixture, elsewhere)
        try peer.run()
        #expect(!policy.open.isEmpty && call.status == nil)
        try change(fixture, AccessRule(.deny, "User:ANONYMOUS", .read, .topic, "orders"))
        try peer.run()
        #expect(call.status == .permissionDenied)
        try answerAll(peer)
        #expect(call.status == .permissionDenied)
    }

    @Test func `Who is a super user any more is not asked about, and who is none is`() throws {
        let fixture = try Fixture(policy: policy)
        _ = try fixture.topic("orders")
        fixture.engine.access.use(superUsers: ["User:ANONYMOUS"])
        let peer = try fixture.connect()
        let (first, worker) = (try peer.subscribe("orders"), try work(peer))
        #expect(policy.asked.isEmpty && first.status == nil && worker.status == nil)
        fixture.engine.access.use(superUsers: ["User:root"])
        try peer.run()
        #expect(Set(policy.open.map(\.question.name)) == ["orders", "workers"] && first.status == nil)
        // Taken back while it is asked: what the policy would have said counts no more.
        fixture.engine.access.use(superUsers: ["User:ANONYMOUS"])
        try peer.run()
        try answerAll(peer) { _ in .denied }
        #expect(first.status == nil && worker.status == nil, "\(first.message) \(worker.message)")
        fixture.engine.access.use(superUsers: [])
        try peer.run()
        try answerAll(peer) { _ in .denied }
        #expect(first.status == .permissionDenied && worker.status == .permissionDenied)
    }

    @Test func `A user who is removed while the policy is asked has asked in vain`() throws {
        let fixture = try Fixture(requiresLogin: true, policy: policy)
        _ = try fixture.topic("orders")
        let key = CredentialKey(user: "alice", mechanism: .sha256)
        let credential = ScramCredential(mechanism: .sha256, password: "secret", salt: [7], iterations: 4_096)
        fixture.engine.access.set([key: credential], on: fixture.loop) { _ in }
        fixture.loop.run()
        let peer = try fixture.connect()
        let alice = [("authorization", "Basic " + Base64.encode(Array("alice:secret".utf8)))]
        let request = Martlet_V1_PublishRequest.with {
            $0.topic = "orders"
            $0.records = [.with { $0.value = Data("x".utf8) }]
        }
        let call = try peer.call("/martlet.v1.Streams/Publish", request, extra: alice)
        #expect(policy.open.map(\.question.client.principal) == ["User:alice"] && call.status == nil)
        fixture.engine.access.set([key: nil], on: fixture.loop) { _ in }
        fixture.loop.run()
        try peer.run()
        #expect(call.status == .unauthenticated && call.message.contains("removed"))
        try answerAll(peer)
        #expect(end(fixture, "orders") == 0 && fixture.engine.access.sessions.count == 0)
    }

    @Test func `A pattern shows what is allowed, also of topics that come later`() throws {
        let fixture = try Fixture(policy: policy)
        for name in ["p-1", "p-2"] { try fixture.append(["of \(name)"], to: try #require(try fixture.topic(name).partition(0))) }
        let peer = try fixture.connect()
        let call = try peer.subscribe("") {
            $0.topics = []
            $0.topicPattern = "p-*"
        }
        try answerAll(peer) { $0.name == "p-2" ? .denied : .allowed }
        #expect(try call.values() == ["of p-1"])
        for name in ["p-3", "p-4"] { try fixture.append(["of \(name)"], to: try #require(try fixture.topic(name).partition(0))) }
        try peer.run()
        #expect(policy.open.map(\.question.name).contains("p-3"))
        try answerAll(peer) { $0.name == "p-4" ? .denied : .allowed }
        #expect(try call.values() == ["of p-1", "of p-3"] && call.status == nil)
    }

    @Test func `A member of a group is asked about before its pattern is matched`() throws {
        let fixture = try Fixture(policy: policy)
        for name in ["p-1", "p-2", "q"] { try fixture.append(["of \(name)"], to: try #require(try fixture.topic(name).partition(0))) }
        let peer = try fixture.connect()
        let call = try peer.subscribe("") {
            $0.topics = []
            $0.topicPattern = "p-*"
            $0.member = .with { $0.group = "g" }
        }
        try answerAll(peer) { $0.name == "p-2" ? .denied : .allowed }
        #expect(try call.values() == ["of p-1"], "\(call.message)")
        #expect(!policy.asked.contains { $0.name == "q" })
    }

    @Test func `Lists show what is allowed`() throws {
        let fixture = try Fixture(policy: policy)
        for name in ["a", "b"] { _ = try fixture.topic(name) }
        let peer = try fixture.connect()
        let call = try peer.call("/martlet.v1.Admin/ListTopics", Martlet_V1_ListTopicsRequest())
        #expect(call.status == nil)
        try answerAll(peer) { $0.name == "a" ? .allowed : .denied }
        #expect(try call.decoded(Martlet_V1_ListTopicsResponse.self)[0].topics.map(\.name) == ["a"])
    }

    @Test func `Dead letters wait for the policy, and go back where it lets them`() throws {
        let fixture = try Fixture(policy: policy)
        for name in ["open", "shut"] { _ = try fixture.topic(name) }
        let dead = try #require(try fixture.topic("dlq.workers").partition(0))
        for name in ["open", "shut", "open"] {
            var builder = RecordBatchBuilder()
            let headers = [("topic", name), ("partition", "0"), ("group", "workers")].map {
                RecordHeader(key: "__dlq.errors.\($0.0)", value: ByteBuffer(string: $0.1))
            }
            builder.append(key: nil, value: ByteBuffer(string: "to \(name)"), headers: headers, timestamp: 1)
            dead.append(builder.finish(), acks: .leader, turn: fixture.engine.turns.turn(for: fixture.loop)) { _ in }
            fixture.loop.run()
        }
        let peer = try fixture.connect()
        func values(_ topic: String) throws -> [String] {
            try read(try #require(fixture.engine.topics.topic(named: topic)?.partition(0)))
        }
        func redrive() throws -> Call {
            try peer.call("/martlet.v1.Work/Redrive", Martlet_V1_RedriveRequest.with { $0.deadLetterTopic = "dlq.workers" })
        }
        let refused = try redrive()
        #expect(refused.status == nil)
        try answerAll(peer) { $0.name == "dlq.workers" ? .denied : .allowed }
        #expect(refused.status == .permissionDenied)
        #expect(!policy.asked.contains { $0.operation == .write })
        fixture.clock.advance(ms: 60_000)
        let call = try redrive()
        try answerAll(peer) { $0.name == "shut" ? .denied : .allowed }
        try peer.run()
        #expect(call.status == .ok, "\(call.message)")
        let answer = try #require(try call.decoded(Martlet_V1_RedriveResponse.self).first)
        #expect((answer.redriven, answer.skipped) == (2, 1))
        #expect(try values("open") == ["0:to open", "1:to open"] && values("shut").isEmpty)
        #expect(policy.asked.filter { $0.operation == .write }.map(\.name).sorted() == ["open", "shut"])
    }

    @Test func `A worker takes nothing before it is known whether it may`() throws {
        let fixture = try Fixture(policy: policy)
        try fixture.append(["job"], to: try #require(try fixture.topic("jobs").partition(0)))
        let peer = try fixture.connect()
        let call = try peer.open("/martlet.v1.Work/Receive")
        func send(_ edit: (inout Martlet_V1_ReceiveRequest) -> Void) throws {
            let bytes: [UInt8] = try Martlet_V1_ReceiveRequest.with(edit).serializedBytes()
            call.send(.frame(ByteBuffer(bytes: bytes)), end: false)
            try peer.run()
        }
        try send {
            $0.open.group = "workers"
            $0.open.topics = ["jobs"]
            $0.open.origin = .earliest
        }
        #expect(call.messages.isEmpty && call.status == nil && !policy.open.isEmpty)
        try answerAll(peer)
        #expect(call.status == nil, "\(call.message)")
        let answers = try call.decoded(Martlet_V1_ReceiveResponse.self)
        #expect(answers.first?.opened.workerID.isEmpty == false)
        #expect(answers.contains { !$0.items.items.isEmpty })
    }
}
