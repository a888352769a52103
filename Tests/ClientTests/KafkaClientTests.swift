// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: the client whole, against a fake broker behind a real socket.

import KafkaWire
import NIOCore
import Records
import Synchronization
import Testing

@testable import Client

@Suite struct KafkaClientTests {
    /// Runs `body` against a broker of its own.
    private func withBroker<Value>(
        _ body: (FakeKafkaBroker, ConnectionOptions) throws -> Value
    ) throws -> Value {
        let broker = try FakeKafkaBroker()
        defer { try? broker.stop() }
        return try body(broker, ConnectionOptions(endpoint: broker.endpoint))
    }

    private func write(
        _ count: Int, to topic: String, _ options: ConnectionOptions, _ writing: WriterOptions
    ) throws {
        let writer = try TopicWriter(
            client: KafkaClient(options), topic: topic, options: writing)
        for index in 0..<count {
            try writer.write(
                key: index % 2 == 0 ? nil : ByteBuffer(string: "key \(index)"),
                value: ByteBuffer(string: "value \(index)"), timestamp: Int64(index))
        }
        try writer.finish()
        #expect(writer.written == Int64(count))
    }

    private func readAll(
        _ topic: String, _ options: ConnectionOptions, group: String? = nil,
        partitions: [Int32] = [], from: StartPosition = .earliest
    ) throws -> [ReadRecord] {
        let client = try KafkaClient(options)
        let offsets = try group.map { try GroupOffsets(client: client, group: $0) }
        let reader = try TopicReader(
            client: client, topic: topic, partitions: partitions, from: from, group: offsets,
            stopsAtEnd: true)
        var records: [ReadRecord] = []
        while !reader.isDone {
            try reader.poll { record in
                records.append(record)
                return true
            }
        }
        try offsets?.commit(topic: topic, reader.nextOffsets)
        return records
    }

    @Test(arguments: CompressionType.allCases)
    func whatIsWrittenIsRead(_ compression: CompressionType) throws {
        try withBroker { _, options in
            var writing = WriterOptions()
            writing.compression = compression
            writing.batchBytes = 500
            try write(100, to: "topic", options, writing)
            let records = try readAll("topic", options)
            #expect(records.count == 100)
            let values = Set(records.compactMap { $0.record.value.map { String(buffer: $0) } })
            #expect(values == Set((0..<100).map { "value \($0)" }))
            for record in records {
                guard let key = record.record.key else { continue }
                #expect(record.partition == KeyPartitioner.partition(ofKey: key, count: 2))
            }
            for partition: Int32 in [0, 1] {
                let offsets = records.filter { $0.partition == partition }.map(\.record.offset)
                #expect(offsets == Array(0..<Int64(offsets.count)))
            }
        }
    }

    @Test func readingStartsInTheMiddleOfABatch() throws {
        try withBroker { _, options in
            var writing = WriterOptions()
            writing.partition = 1
            try write(10, to: "topic", options, writing)
            let records = try readAll("topic", options, partitions: [1], from: .offset(7))
            #expect(records.map(\.record.offset) == [7, 8, 9])
            #expect(try readAll("topic", options, partitions: [1], from: .latest).isEmpty)
        }
    }

    @Test func aGroupGoesOnWhereItLeftOff() throws {
        try withBroker { broker, options in
            var writing = WriterOptions()
            writing.partition = 0
            try write(3, to: "topic", options, writing)
            #expect(try readAll("topic", options, group: "g").count == 3)
            #expect(broker.state.withLock { $0.committed } == [0: 3, 1: 0])
            try write(2, to: "topic", options, writing)
            #expect(try readAll("topic", options, group: "g").map(\.record.offset) == [3, 4])
        }
    }

    @Test func aRefusalNamesTheErrorAndTheTopic() throws {
        try withBroker { broker, options in
            broker.state.withLock { $0.produceError = .messageTooLarge }
            do {
                try write(1, to: "topic", options, WriterOptions())
                Issue.record("a refused batch was taken for written")
            } catch let error as ClientError {
                #expect(error.code == .refused)
                #expect(error.message.contains("'topic'"))
                #expect(error.message.contains("[MESSAGE_TOO_LARGE]"))
            }
        }
    }

    @Test func unknownTopicsAndPartitionsAreTold() throws {
        try withBroker { _, options in
            let client = try KafkaClient(options)
            #expect(throws: ClientError(.refused, "")) {
                try client.leaders(of: "nothing", creates: false)
            }
            try client.createTopic("three", partitions: 3)
            #expect(try client.leaders(of: "three", creates: false).map(\.partition) == [0, 1, 2])
            #expect(throws: ClientError(.invalidArgument, "")) {
                try readAll("three", options, partitions: [7])
            }
        }
    }

    @Test func aBrokerThatSaysNothingIsGivenUp() throws {
        try withBroker { broker, options in
            broker.state.withLock { $0.isSilent = true }
            var options = options
            options.requestTimeoutMs = 50
            #expect(throws: ClientError(.timeout, "")) {
                try KafkaClient(options).leaders(of: "topic", creates: true)
            }
        }
    }

    @Test func nobodyThereIsToldWithTheAddressAndANextStep() throws {
        let endpoint = try withBroker { broker, _ in broker.endpoint }
        do {
            _ = try KafkaClient(ConnectionOptions(endpoint: endpoint))
                .leaders(of: "topic", creates: false)
            Issue.record("a stopped broker answered")
        } catch {
            #expect(error.code == .unreachable)
            #expect(error.message.contains(endpoint.description))
            #expect(error.message.contains("connection refused"))
        }
    }

    // MARK: Load

    private func load(
        _ mode: LoadMode, _ connection: ConnectionOptions, _ change: (inout LoadOptions) -> Void
    ) throws -> LoadReport {
        var options = LoadOptions(mode: mode, connection: connection, topic: "load")
        change(&options)
        return try LoadRun(options).run()
    }

    @Test func aProduceLoadByRecordsWritesThemAllAndOnce() throws {
        try withBroker { broker, connection in
            let report = try load(.produce, connection) {
                $0.length = .records(100)
                $0.connections = 3
                $0.inFlight = 4
                $0.threads = 2
                $0.recordSize = 10
            }
            #expect(report.records == 100)
            #expect(report.bytes == 1000)
            #expect(report.latencies.count == 100)
            #expect(report.refusals == 0)
            #expect(broker.state.withLock { $0.ends["load"] }?.reduce(0, +) == 100)
        }
    }

    @Test func aProduceLoadByTimeCountsWhatWasAnswered() throws {
        try withBroker { broker, connection in
            let report = try load(.produce, connection) {
                $0.length = .milliseconds(30)
                $0.batchBytes = 1000
                $0.recordSize = 90
                $0.partitions = 1
            }
            #expect(report.requests > 0)
            #expect(report.records == report.requests * 10)
            let stored = broker.state.withLock { $0.ends["load"] ?? [] }
            #expect(stored.count == 1)
            #expect(stored[0] >= Int64(report.records))
        }
    }

    @Test func refusedRequestsAreCountedAndNamed() throws {
        try withBroker { broker, connection in
            broker.state.withLock { $0.produceError = .corruptMessage }
            let report = try load(.produce, connection) { $0.length = .records(5) }
            #expect(report.refusals == 5)
            #expect(report.records == 0)
            #expect(report.firstRefusal == "CORRUPT_MESSAGE")
        }
    }

    @Test func aLoadWithoutAnswersSendsAllRecords() throws {
        try withBroker { broker, connection in
            let report = try load(.produce, connection) {
                $0.length = .records(50)
                $0.acks = 0
                $0.inFlight = 8
            }
            #expect(report.records == 50)
            // The broker has read everything once it answers on a connection made later.
            while broker.state.withLock({ $0.produceRequests }) < 50 {
                _ = try KafkaClient(connection).leaders(of: "load", creates: false)
            }
            #expect(broker.state.withLock { $0.ends["load"] }?.reduce(0, +) == 50)
        }
    }

    @Test func aFetchLoadReadsTheTopicOverAndOver() throws {
        try withBroker { _, connection in
            _ = try load(.produce, connection) {
                $0.length = .records(40)
                $0.partitions = 2
                $0.connections = 2
            }
            let report = try load(.fetch, connection) {
                $0.length = .records(200)
                $0.connections = 2
                $0.batchBytes = 5000
            }
            #expect(report.records >= 200)
            #expect(report.gaps == 0)
            #expect(report.refusals == 0)
        }
    }

    @Test func aFetchLoadOfNothingSaysSo() throws {
        try withBroker { _, connection in
            try KafkaClient(connection).createTopic("load", partitions: 1)
            #expect(throws: ClientError(.invalidArgument, "")) {
                try load(.fetch, connection) { _ in }
            }
        }
    }

    @Test func loadsThatMakeNoSenseAreRefused() throws {
        let connection = ConnectionOptions(endpoint: Endpoint(host: "127.0.0.1", port: 1))
        let changes: [(inout LoadOptions) -> Void] = [
            { $0.connections = 0 }, { $0.inFlight = 0 }, { $0.threads = 0 }, { $0.recordSize = -1 },
            { $0.batchBytes = 1 << 40 }, { $0.length = .records(0) },
            { $0.length = .milliseconds(0) }, { $0.topic = "" },
        ]
        for change in changes {
            #expect(throws: ClientError(.invalidArgument, "")) {
                try load(.produce, connection, change)
            }
        }
    }
}
