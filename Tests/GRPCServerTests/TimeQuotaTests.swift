// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: the quota of the event loop's time over gRPC: whose calls wait, which do not, and what is left of a call
// that ends while it waits.

import Bytes
import Contract
import Engine
import FoundationEssentials
import GRPCWire
import NIOCore
import NIOEmbedded
import Security
import SwiftProtobuf
import Telemetry
import Testing
import Transport

@testable import GRPCServer

/// What a method of the tests does: time passes while it runs.
private final class Worked: @unchecked Sendable {
    // Unchecked: tests run in one thread.
    var clock: ManualClock?
    var takesMs: Int64 = 0
    private(set) var count = 0

    /// `/test.Time/Take`
    var method: GRPCMethod {
        GRPCMethod("test.Time", "Take", .unary) { [self] call, _ in
            clock?.advance(ms: takesMs)
            count += 1
            call.respond { _ in }
        }
    }
}

@Suite struct TimeQuotaTests {
    private let worked = Worked()
    private let fixture: Fixture
    private let topic: Topic
    private let peer: Peer
    private static let anonymous = QuotaClient(principal: "User:ANONYMOUS", clientId: "")

    init() throws {
        fixture = try Fixture(adding: [worked.method])
        worked.clock = fixture.clock
        topic = try fixture.topic("orders")
        peer = try fixture.connect()
    }

    /// A tenth of a loop: in ten seconds, one.
    private func limit(_ percent: Double? = 10, _ key: QuotaKey = .requestPercentage, of fixture: Fixture? = nil) {
        let fixture = fixture ?? self.fixture
        fixture.engine.quotas.change([QuotaChange(QuotaEntity(user: .others), key, percent)], on: fixture.loop) { _ in }
        fixture.loop.run()
    }

    /// Two seconds of a loop are used up.
    private func useUp() { fixture.engine.quotas.note(Self.anonymous, timeNs: 2_000_000_000) }

    private func pass(ms: Int64) throws {
        fixture.clock.advance(ms: ms)
        fixture.loop.advanceTime(by: .milliseconds(ms))
        try peer.run()
    }

    private func take(ms: Int64, timeout: String? = nil) throws -> Call {
        worked.takesMs = ms
        return try peer.call("/test.Time/Take", Martlet_V1_ListTopicsRequest(), timeout: timeout)
    }

    private var written: Int64 {
        get throws { try #require(topic.partition(0)).offsets.highWatermark }
    }

    private var throttles: Int {
        get throws {
            let name = "martlet_quota_throttle_seconds_count{quota=\"request_percentage\"} "
            let line = fixture.metrics.text().split(separator: "\n").first { $0.hasPrefix(name) }
            return try #require(line.flatMap { Int($0.dropFirst(name.count)) })
        }
    }

    // MARK: Calls with one answer

    @Test func `A call over the quota waits before it begins, for as long as Kafka's requests would`() throws {
        limit()
        // Half a second more than ten seconds allow.
        #expect(try take(ms: 1050).status == .ok && throttles == 0, "whoever used the time has its answer")
        let call = try take(ms: 0)
        #expect(try call.status == nil && worked.count == 1 && throttles == 1)
        try pass(ms: 400)
        #expect(call.status == nil)
        try pass(ms: 100)
        #expect(call.status == .ok && worked.count == 2)
    }

    @Test func `What waits asks again, so that those who wait together do not begin together`() throws {
        limit()
        useUp()
        try pass(ms: 5000)
        let calls = try (0..<3).map { _ in try take(ms: 900) }
        try pass(ms: 5000)
        #expect(calls.allSatisfy { $0.status == nil })
        // What was used is forgotten now; two of them use up what there is, and the other one waits for that to be forgotten.
        try pass(ms: 1000)
        #expect(calls.filter { $0.status == .ok }.count == 2 && worked.count == 2)
    }

    @Test func `Nobody waits for longer than what was used is remembered`() throws {
        limit()
        useUp()
        let call = try take(ms: 0)
        for _ in 0..<10 {
            try pass(ms: 1000)
            useUp()
        }
        #expect(call.status == nil)
        try pass(ms: 1000)
        #expect(call.status == .ok)
    }

    @Test func `A deadline that passes meanwhile leaves nothing behind`() throws {
        limit()
        useUp()
        let call = try take(ms: 0, timeout: "300m")
        let record = try peer.call(
            "/martlet.v1.Streams/Publish",
            Martlet_V1_PublishRequest.with {
                $0.topic = "orders"
                $0.records = [.with { $0.value = .init("v".utf8) }]
            }, timeout: "300m")
        try pass(ms: 300)
        #expect(call.status == .deadlineExceeded && record.status == .deadlineExceeded)
        try pass(ms: 12_000)
        #expect(try worked.count == 0 && written == 0)
    }

    @Test func `A call that is cancelled while it waits leaves nothing behind`() throws {
        limit()
        useUp()
        let call = try take(ms: 0)
        call.cancel()
        try peer.run()
        try pass(ms: 12_000)
        #expect(call.isClosed && worked.count == 0)
    }

    @Test func `A broker that stops ends what has not begun`() throws {
        limit()
        useUp()
        let call = try take(ms: 0)
        peer.channel.pipeline.fireUserInboundEventTriggered(DrainEvent(deadline: .now() + .seconds(1)))
        try peer.run()
        #expect(call.status == .unavailable && worked.count == 0)
    }

    @Test func `Only so many wait on one connection, of both kinds of quota`() throws {
        limit()
        limit(1000, .producerByteRate)
        let large = String(repeating: "v", count: 12_000)
        let delayed = try (0..<Limits.heldCalls / 2).map { try peer.publish("orders", [$0 == 0 ? large : "v"]) }
        useUp()
        let held = try (0..<Limits.heldCalls / 2).map { _ in try take(ms: 0) }
        #expect(delayed.allSatisfy { $0.status == nil } && held.allSatisfy { $0.status == nil })
        let refused = try take(ms: 0)
        #expect(refused.status == .resourceExhausted && refused.message.contains("try again in 1000 ms"))
        #expect(refused.details != nil)
        // Each gives its place back, whether it begins or goes.
        for call in held.prefix(10) { call.cancel() }
        try peer.run()
        #expect(try (0..<10).allSatisfy { _ in try take(ms: 0).status == nil })
        #expect(try take(ms: 0).status == .resourceExhausted)
        for _ in 0..<24 { try pass(ms: 1000) }
        #expect(delayed.allSatisfy { $0.status == .ok } && held.dropFirst(10).allSatisfy { $0.status == .ok })
        useUp()
        #expect(try take(ms: 0).status == nil)
    }

    @Test func `Health is answered to anybody`() throws {
        limit()
        useUp()
        let call = try peer.call("/grpc.health.v1.Health/Check", Grpc_Health_V1_HealthCheckRequest())
        #expect(call.status == .ok)
    }

    @Test func `Without a quota of time nothing is measured`() throws {
        limit(1e9, .producerByteRate)
        #expect(try take(ms: 5000).status == .ok)
        limit()
        #expect(try take(ms: 0).status == .ok && throttles == 0)
        useUp()
        let call = try take(ms: 0)
        #expect(call.status == nil)
        limit(nil)
        try pass(ms: 1000)
        #expect(call.status == .ok, "a quota that is taken away holds nobody")
    }

    @Test func `Of the users of one connection only the one over the quota waits`() throws {
        let fixture = try Fixture(requiresLogin: true, adding: [worked.method])
        worked.clock = fixture.clock
        for user in ["alice", "bob"] {
            let credential = ScramCredential(mechanism: .sha256, password: "secret", salt: [7], iterations: 4_096)
            fixture.engine.access.set([CredentialKey(user: user, mechanism: .sha256): credential], on: fixture.loop) { _ in }
        }
        limit(of: fixture)
        let peer = try fixture.connect()
        func take(_ user: String, ms: Int64) throws -> Call {
            worked.takesMs = ms
            let login = "Basic " + Base64.encode(Array("\(user):secret".utf8))
            return try peer.call("/test.Time/Take", Martlet_V1_ListTopicsRequest(), extra: [("authorization", login)])
        }
        #expect(try take("alice", ms: 2000).status == .ok)
        let held = try take("alice", ms: 0)
        #expect(try held.status == nil && take("bob", ms: 0).status == .ok)
        // Who is removed meanwhile is nobody any more.
        fixture.engine.access.set([CredentialKey(user: "alice", mechanism: .sha256): nil], on: fixture.loop) { _ in }
        fixture.loop.run()
        try peer.run()
        #expect(held.status == .unauthenticated && worked.count == 2)
    }

    // MARK: Streams

    @Test func `Requests of a stream are not taken up while its caller is over the quota, and their results come`() throws {
        limit()
        let call = try peer.open("/martlet.v1.Streams/PublishStream")
        func send(_ value: String, end: Bool = false) throws {
            let request = Martlet_V1_PublishStreamRequest.with {
                $0.topic = "orders"
                $0.records = [.with { $0.value = .init(value.utf8) }]
            }
            call.send(.frame(ByteBuffer(bytes: try request.serializedBytes() as [UInt8])), end: end)
            try peer.run()
        }
        try send("a")
        useUp()
        // It is known when a step is over; what was taken up is answered.
        try send("b")
        try send("c")
        try send("d", end: true)
        func results() throws -> Int { try call.decoded(Martlet_V1_PublishStreamResponse.self).flatMap(\.results).count }
        #expect(try written == 2 && results() == 2 && call.status == nil)
        for _ in 0..<11 { try pass(ms: 1000) }
        #expect(try written == 4 && results() == 4 && call.status == .ok)
    }

    @Test func `A stream that is held before it begins takes its requests then`() throws {
        limit()
        useUp()
        let call = try peer.open("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        let request = Grpc_Reflection_V1_ServerReflectionRequest.with { $0.listServices = "" }
        call.send(.frame(ByteBuffer(bytes: try request.serializedBytes() as [UInt8])), end: true)
        try peer.run()
        #expect(call.messages.isEmpty && call.status == nil)
        for _ in 0..<11 { try pass(ms: 1000) }
        #expect(call.messages.count == 1 && call.status == .ok)
    }

    @Test func `A subscription's next delivery waits`() throws {
        limit()
        let partition = try #require(topic.partition(0))
        let call = try peer.subscribe("orders")
        try fixture.append(["a"], to: partition)
        try peer.run()
        useUp()
        try fixture.append(["b"], to: partition)
        try peer.run()
        try fixture.append(["c"], to: partition)
        try peer.run()
        #expect(try call.values() == ["a", "b"] && throttles >= 1)
        for _ in 0..<11 { try pass(ms: 1000) }
        #expect(try call.values() == ["a", "b", "c"] && call.status == nil)
    }

    @Test func `A worker's items and settlements wait`() throws {
        limit()
        let partition = try #require(topic.partition(0))
        let call = try peer.open("/martlet.v1.Work/Receive")
        func send(_ edit: (inout Martlet_V1_ReceiveRequest) -> Void) throws {
            call.send(.frame(ByteBuffer(bytes: try Martlet_V1_ReceiveRequest.with(edit).serializedBytes() as [UInt8])), end: false)
            try peer.run()
        }
        func answers() throws -> [Martlet_V1_ReceiveResponse] { try call.decoded() }
        func items() throws -> [Martlet_V1_WorkItem] { try answers().flatMap(\.items.items) }
        func isConfirmed() throws -> Bool { try answers().contains { !$0.confirmed.deliveryIds.isEmpty } }
        try send {
            $0.open.group = "workers"
            $0.open.topics = ["orders"]
            $0.open.origin = .earliest
        }
        try fixture.append(["a"], to: partition)
        try peer.run()
        let first = try #require(try items().first)
        useUp()
        try fixture.append(["b"], to: partition)
        try peer.run()
        try fixture.append(["c"], to: partition)
        try send { $0.ack.deliveryIds = [first.deliveryID] }
        #expect(try items().count == 2 && isConfirmed() == false)
        for _ in 0..<11 { try pass(ms: 1000) }
        #expect(try items().count == 3 && isConfirmed() && call.status == nil)
    }

    @Test func `Putting dead letters back waits between its stretches, and lets go of them when its caller goes`() throws {
        limit()
        let dead = try #require(try fixture.topic("dlq.workers").partition(0))
        // They say of no topic where they came from, so all of them are passed over.
        try fixture.append((0..<1500).map { "\($0)" }, to: dead)
        func redrive() throws -> Call {
            try peer.call("/martlet.v1.Work/Redrive", Martlet_V1_RedriveRequest.with { $0.deadLetterTopic = "dlq.workers" })
        }
        useUp()
        let call = try redrive()
        for _ in 0..<11 {
            useUp()
            try pass(ms: 1000)
        }
        // Begun, since it has waited for long enough, and held again after a thousand.
        #expect(call.status == nil)
        call.cancel()
        try peer.run()
        limit(nil)
        let answer = try #require(try redrive().decoded(Martlet_V1_RedriveResponse.self).first)
        #expect(answer.skipped == 1500, "none of them is held by the call that went")
    }

    // MARK: The web

    @Test func `A page's call waits too, and what it says is not looked at before`() throws {
        limit()
        useUp()
        let json = "application/json"
        let record = try peer.web(
            "POST", "/v1/topics/orders/records", json, body: ByteBuffer(string: #"{"records": [{"value": "v"}]}"#))
        let malformed = try peer.web("POST", "/martlet.v1.Admin/ListTopics", json, body: ByteBuffer(string: "{"))
        let events = try peer.web("GET", "/v1/topics/orders/events?from=earliest")
        #expect(try record.fields.isEmpty && malformed.fields.isEmpty && events.fields.isEmpty && written == 0)
        for _ in 0..<11 { try pass(ms: 1000) }
        #expect(try record.status == "200" && written == 1)
        #expect(malformed.status == "400" && events.status == "200" && events.text.contains("\"value\":\"v\""))
    }
}
