// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: gRPC whole, against a fake service behind a real socket.

import Contract
import FoundationEssentials
import NIOCore
import Records
import SwiftProtobuf
import Synchronization
import Testing

@testable import Client

@Suite struct GRPCClientTests {
    /// Runs `body` against a service of its own.
    private func withStreams<Value>(
        _ body: (FakeStreams, ConnectionOptions) throws -> Value
    ) throws -> Value {
        let streams = try FakeStreams()
        defer { try? streams.stop() }
        return try body(streams, ConnectionOptions(endpoint: streams.endpoint))
    }

    private func message(_ offsets: Range<Int64>) throws -> ByteBuffer {
        var batch = Martlet_V1_RecordBatch()
        batch.topic = "topic"
        batch.partition = 1
        batch.records = offsets.map { offset in
            var record = Martlet_V1_Record()
            record.offset = offset
            record.timestampMs = 9
            if offset % 2 == 0 { record.key = .init("key".utf8) }
            record.value = .init("value \(offset)".utf8)
            return record
        }
        var response = Martlet_V1_SubscribeResponse()
        response.batches = [batch]
        let bytes: [UInt8] = try response.serializedBytes()
        return ByteBuffer(bytes: bytes)
    }

    @Test func aSubscriptionDeliversRecordsUntilTheStreamEnds() throws {
        try withStreams { streams, options in
            let messages = try [message(0..<3), message(3..<200), message(200..<5000)]
            streams.state.withLock { $0.messages = messages }
            var records: [ReadRecord] = []
            let subscription = RecordSubscription(
                topics: ["topic"], from: .earliest, stopsAtEnd: true, maxRecords: 7)
            try subscription.run(options) { found in
                records += found
                return true
            }
            #expect(records.map(\.record.offset) == Array(0..<5000))
            #expect(records[1].record.key == nil)
            #expect(records[2].record.key == ByteBuffer(string: "key"))
            #expect(records[2].record.value == ByteBuffer(string: "value 2"))
            #expect(records[2].partition == 1)
            let request = streams.state.withLock { $0.lastSubscribe }
            #expect(request.untilEnd)
            #expect(request.maxRecords == 7)
            #expect(request.origin == .earliest)
        }
    }

    @Test func aSubscriberThatHasEnoughEndsTheCall() throws {
        try withStreams { streams, options in
            let messages = try (0..<100).map { try message(Int64($0 * 10)..<Int64($0 * 10 + 10)) }
            streams.state.withLock { $0.messages = messages }
            var count = 0
            try RecordSubscription(topics: ["topic"], from: .earliest).run(options) { found in
                count += found.count
                return count < 30
            }
            #expect(count == 30)
        }
    }

    @Test func aStatusThatIsNotOKIsAnErrorWithItsMessage() throws {
        try withStreams { streams, options in
            streams.state.withLock {
                $0.status = "5"
                $0.message = "no topic 'caf%C3%A9'"
            }
            do {
                try RecordSubscription(topics: ["x"], from: .latest).run(options) { _ in true }
                Issue.record("a failed call ended well")
            } catch let error as ClientError {
                #expect(error.code == .refused)
                #expect(error.message == "no topic 'café' [NOT_FOUND]")
            }
        }
    }

    @Test func aPeerThatSpeaksNoHTTP2IsTold() throws {
        let broker = try FakeKafkaBroker()
        defer { try? broker.stop() }
        let options = ConnectionOptions(endpoint: broker.endpoint)
        #expect(throws: ClientError(.connection, "")) {
            try RecordSubscription(topics: ["x"], from: .latest).run(options) { _ in true }
        }
    }

    // MARK: Load

    private func load(
        _ mode: LoadMode, _ connection: ConnectionOptions, _ change: (inout LoadOptions) -> Void
    ) throws -> LoadReport {
        var options = LoadOptions(mode: mode, connection: connection, topic: "topic")
        change(&options)
        return try LoadRun(options).run()
    }

    @Test func aPublishLoadMakesEveryCallOnce() throws {
        try withStreams { streams, connection in
            let report = try load(.publish, connection) {
                $0.length = .records(200)
                $0.connections = 2
                $0.inFlight = 8
                $0.recordSize = 50
                $0.batchBytes = 600
            }
            #expect(report.records == 200)
            #expect(report.requests == 20)
            #expect(report.bytes == 10_000)
            #expect(report.refusals == 0)
            #expect(streams.state.withLock { $0.published } == 200)
        }
    }

    @Test func refusedCallsAreCountedAndNamed() throws {
        try withStreams { streams, connection in
            streams.state.withLock {
                $0.status = "8"
                $0.message = "disk full"
            }
            let report = try load(.publish, connection) { $0.length = .records(3) }
            #expect(report.refusals == 3)
            #expect(report.records == 0)
            #expect(report.firstRefusal == "disk full [RESOURCE_EXHAUSTED]")
        }
    }

    @Test func aSubscribeLoadReadsTheTopicOverAndOver() throws {
        try withStreams { streams, connection in
            let messages = try [message(5..<10), message(10..<25)]
            streams.state.withLock { $0.messages = messages }
            let report = try load(.subscribe, connection) { $0.length = .records(100) }
            #expect(report.records == 100)
            #expect(report.gaps == 0)
            #expect(report.bytes == messages.reduce(0) { $0 + $1.readableBytes } * 5)
            #expect(streams.state.withLock { $0.subscriptions } == 5)
        }
    }

    @Test func offsetsThatDoNotGrowEndASubscribeLoad() throws {
        try withStreams { streams, connection in
            let messages = try [message(5..<10), message(9..<12)]
            streams.state.withLock { $0.messages = messages }
            #expect(throws: ClientError(.badAnswer, "")) {
                try load(.subscribe, connection) { $0.length = .records(100) }
            }
        }
    }

    @Test func aSubscribeLoadOfNothingSaysSo() throws {
        try withStreams { _, connection in
            _ = #expect(throws: ClientError(.invalidArgument, "")) {
                try load(.subscribe, connection) { $0.length = .records(1) }
            }
        }
    }
}
