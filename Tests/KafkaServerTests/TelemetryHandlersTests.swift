// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: clients' telemetry (KIP-714): subscriptions, intervals, pushes.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Records
import Telemetry
import TestSupport
import Testing

@testable import KafkaServer

@Suite struct TelemetryHandlersTests {
    let test: TestEngine
    let connection: TestConnection
    let metrics = Metrics()
    private let id = TopicId(high: 7, low: 8)

    init() throws {
        test = try TestEngine()
        connection = try TestConnection(test, metrics: metrics)
        test.clock.advance(ms: 10_000_000)
    }

    private func configure(_ name: String, _ key: String, _ value: String) throws {
        #expect(try ConfigurationCalls(connection: connection).set(ConfigResourceType.clientMetrics, name, key, value) == .none)
    }

    private func ask(_ id: TopicId? = nil) throws -> GetTelemetrySubscriptionsResponse {
        var request = GetTelemetrySubscriptionsRequest()
        request.clientInstanceId = id ?? self.id
        return try connection.call(request, version: 0)
    }

    private func push(
        _ subscription: Int32, id: TopicId? = nil, compression: Int8 = 0, bytes: ByteBuffer = ByteBuffer(string: "m"),
        terminating: Bool = false
    ) throws -> KafkaErrorCode {
        var request = PushTelemetryRequest()
        request.clientInstanceId = id ?? self.id
        request.subscriptionId = subscription
        request.compressionType = compression
        request.metrics = bytes
        request.terminating = terminating
        return try connection.call(request, version: 0).errorCode
    }

    @Test func withoutConfigurationNothingIsPushedAndAClientGetsAnId() throws {
        let response = try ask(.zero)
        #expect(response.errorCode == .none && response.clientInstanceId != .zero)
        #expect(response.requestedMetrics.isEmpty && response.pushIntervalMs == 300_000)
        #expect(response.acceptedCompressionTypes == [4, 3, 1, 2] && response.deltaTemporality)
        #expect(response.telemetryMaxBytes == 1 << 20)
        #expect(try ask(.zero).clientInstanceId != response.clientInstanceId)
        #expect(try ask().clientInstanceId == id)
    }

    @Test func subscriptionsThatMatchAreTakenTogether() throws {
        try configure("a", "metrics", "one,two")
        try configure("a", "interval.ms", "5000")
        try configure("b", "metrics", "two,three")
        try configure("b", "interval.ms", "1000")
        try configure("b", "match", "client_id=test,client_source_port=5\\d+")
        try configure("c", "metrics", "four")
        try configure("c", "match", "client_id=other.*")
        let response = try ask()
        #expect(response.requestedMetrics == ["one", "three", "two"] && response.pushIntervalMs == 1000)
        try configure("a", "metrics", "*")
        #expect(try ask().requestedMetrics == ["*"])
    }

    @Test func whatTheClientSaidThatItIsCanBeMatched() throws {
        var versions = ApiVersionsRequest()
        versions.clientSoftwareName = "apache-kafka-java"
        versions.clientSoftwareVersion = "4.0.1"
        _ = try connection.call(versions, version: 3)
        try configure("java", "metrics", "one")
        try configure("java", "match", "client_software_name=apache-kafka-.*,client_software_version=4\\.0.*")
        #expect(try ask().requestedMetrics == ["one"])
    }

    @Test func askingAgainTooSoonIsThrottledUnlessTheConfigurationChanges() throws {
        let first = try ask()
        #expect(try ask().errorCode == .throttlingQuotaExceeded)
        test.clock.advance(ms: 299_999)
        #expect(try ask().errorCode == .throttlingQuotaExceeded)
        test.clock.advance(ms: 1)
        #expect(try ask().subscriptionId == first.subscriptionId)
        // A configuration of something else is none of its business.
        #expect(try ConfigurationCalls(connection: connection).set(ConfigResourceType.broker, "", "log.retention.ms", "5") == .none)
        #expect(try ask().errorCode == .throttlingQuotaExceeded)
        try configure("a", "metrics", "one")
        let changed = try ask()
        #expect(changed.errorCode == .none && changed.subscriptionId != first.subscriptionId)
    }

    @Test func pushesComeInTheirIntervalAndAreCounted() throws {
        try configure("a", "metrics", "*")
        try configure("a", "interval.ms", "1000")
        let subscription = try ask().subscriptionId
        #expect(try push(subscription) == .none)
        #expect(try push(subscription) == .throttlingQuotaExceeded)
        test.clock.advance(ms: 1000)
        #expect(try push(subscription) == .none)
        let text = metrics.text()
        #expect(text.contains("martlet_kafka_telemetry_pushes_total 2"))
        #expect(text.contains("martlet_kafka_telemetry_bytes_total 2"))
        #expect(text.contains("martlet_kafka_telemetry_refused_total 1"))
        #expect(text.contains("martlet_kafka_telemetry_clients 1"))
    }

    @Test func theLastPushMayComeEarlyAndNothingComesAfterIt() throws {
        let subscription = try ask().subscriptionId
        #expect(try push(subscription) == .none)
        #expect(try push(subscription, terminating: true) == .none)
        test.clock.advance(ms: 300_000)
        #expect(try push(subscription) == .invalidRequest)
    }

    @Test func whatIsWrongWithAPushIsSaid() throws {
        #expect(try push(1, id: .zero) == .invalidRequest)
        #expect(try push(1, id: TopicId(high: 0, low: 1)) == .invalidRequest)
        let subscription = try ask().subscriptionId
        #expect(try push(subscription &+ 1) == .unknownSubscriptionId)
        test.clock.advance(ms: 1)
        #expect(try ask().errorCode == .none)
        #expect(try push(subscription, compression: 9) == .unsupportedCompressionType)
        test.clock.advance(ms: 1)
        #expect(try ask().errorCode == .none)
        let large = ByteBuffer(repeating: 0, count: Limits.telemetryBytes + 1)
        #expect(try push(subscription, bytes: large) == .telemetryTooLarge)
        test.clock.advance(ms: 300_000)
        #expect(try push(subscription, compression: 4, bytes: ByteBuffer(string: "no zstd")) == .invalidRecord)
        test.clock.advance(ms: 300_000)
        #expect(try push(subscription, compression: 2, bytes: ByteBuffer()) == .none)
    }

    @Test func clientsAreForgottenAfterSilenceAndBoundedInNumber() throws {
        let telemetry = connection.server.telemetry
        var now: Int64 = 10_000_000
        for number in 0...UInt64(Limits.telemetryClients) {
            now += 1
            _ = telemetry.subscription(of: TopicId(high: 1, low: number), [:], nowMs: now)
        }
        // Those that were silent longest made room: they may ask again at once, the last ones may not.
        func asks(_ number: UInt64) -> Bool {
            if case .success = telemetry.subscription(of: TopicId(high: 1, low: number), [:], nowMs: now) { true } else { false }
        }
        #expect(asks(0))
        #expect(!asks(UInt64(Limits.telemetryClients)))
        #expect(metrics.text().contains("martlet_kafka_telemetry_clients \(Limits.telemetryClients - Limits.telemetryClients / 16 + 2)"))
    }
}
