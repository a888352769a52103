// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: `GET /v1/topics/{topic}/events`: a subscription as server-sent events.
//
// Every event is one record as JSON, and its id says where to go on after it: `partition:offset` of every partition, comma
// between them. A browser sends the last one back by itself (Last-Event-ID). Idle streams send a comment now and then.
// What is known to be wrong before there is anything to send has an HTTP status, with which browsers give up; what goes wrong
// later is an event, after which they come back.
//
//   id: 0:42,1:7
//   data: {"topic":"orders","partition":0,"offset":41,"timestampMs":…,"key":"k","value":"v","headers":[…]}

import Bytes
import Contract
import GRPCWire
import NIOCore
import SwiftProtobuf
import Telemetry

final class EventsTranslator: WebTranslator {
    private var request: Martlet_V1_SubscribeRequest
    /// What every partition's next offset is.
    private var positions: [Int32: Int64] = [:]
    private var hasBegun = false

    /// Milliseconds between comments.
    private static let keepAliveMs: UInt32 = 15_000
    /// Partitions of one stream: each event's id names all of them.
    static let partitionsMax = 100

    /// Throws `INVALID_ARGUMENT`: the query or the id is not what it should be.
    init(topic: String, query: Substring, lastEventId: String?) throws(GRPCStatus) {
        request = .with {
            $0.topics = [.with { $0.topic = topic }]
            $0.origin = .latest
            $0.progressIntervalMs = Self.keepAliveMs
        }
        for pair in query.split(separator: "&") {
            let name = pair.prefix { $0 != "=" }
            try set(name, pair.dropFirst(name.count + 1))
        }
        guard let lastEventId, !lastEventId.isEmpty else { return }
        request.start = nil
        request.topics[0].partitions = []
        for entry in lastEventId.split(separator: ",", omittingEmptySubsequences: false) {
            try add(try Self.position(entry), "last-event-id")
        }
    }

    private func add(_ partition: Martlet_V1_PartitionSelection, _ field: String) throws(GRPCStatus) {
        guard !request.topics[0].partitions.contains(where: { $0.partition == partition.partition }) else {
            throw .invalid(field, "\(field) names partition \(partition.partition) twice")
        }
        guard request.topics[0].partitions.count < Self.partitionsMax else {
            throw .invalid(field, "\(field) names more than the \(Self.partitionsMax) partitions that one stream has")
        }
        request.topics[0].partitions.append(partition)
    }

    private func set(_ name: Substring, _ value: Substring) throws(GRPCStatus) {
        switch (name, value) {
        case ("from", "earliest"): request.origin = .earliest
        case ("from", "latest"): request.origin = .latest
        case ("from", _):
            guard let offset = Int64(value), offset >= 0 else {
                throw .invalid("from", "from is earliest, latest or an offset, not \(value)")
            }
            request.origin = .unspecified
            request.offset = offset
        case ("partition", _):
            guard let partition = Int32(value), partition >= 0 else {
                throw .invalid("partition", "partition is a number, not \(value)")
            }
            try add(.with { $0.partition = partition }, "partition")
        default:
            throw .invalid(String(name), "\(name) is not known here; from and partition are")
        }
    }

    private static func position(_ entry: Substring) throws(GRPCStatus) -> Martlet_V1_PartitionSelection {
        let parts = entry.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let partition = Int32(parts[0]), let offset = Int64(parts[1]), partition >= 0, offset >= 0
        else { throw .invalid("last-event-id", "Last-Event-ID is not the id of an event of this stream") }
        return .with {
            $0.partition = partition
            $0.offset = offset
        }
    }

    func received(_ body: ByteBuffer) throws(GRPCStatus) -> ByteBuffer { ByteBuffer() }

    func receivedEnd() throws(GRPCStatus) -> ByteBuffer {
        guard let bytes: [UInt8] = try? request.serializedBytes() else {
            preconditionFailure("a message without required fields can be encoded")
        }
        return .frame(ByteBuffer(bytes: bytes))
    }

    private static let head = WebHead(contentType: "text/event-stream", fields: [("cache-control", "no-store")])

    var beginsWithMessage: Bool { true }

    func begin() -> WebHead? {
        hasBegun = true
        return Self.head
    }

    func answer(_ frames: ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        var frames = frames
        var text = ""
        for message in frames.readFrames() {
            guard let response = try? Martlet_V1_SubscribeResponse(serializedBytes: Array(message.readableBytesView)) else {
                throw GRPCStatus(.internal, "ANSWER_UNREADABLE", "an answer cannot be read; this is an error of the broker")
            }
            for entry in response.progress.partitions { positions[entry.partition] = entry.position }
            if positions.count > Self.partitionsMax {
                throw .invalid(
                    "partition", "the topic has more than \(Self.partitionsMax) partitions; choose some with partition=")
            }
            if response.hasProgress { text += ": \(response.progress.caughtUp ? "caught up" : "reading")\n\n" }
            for batch in response.batches {
                for record in batch.records { text += event(record, batch) }
            }
        }
        return ByteBuffer(string: text)
    }

    private func event(_ record: Martlet_V1_Record, _ batch: Martlet_V1_RecordBatch) -> String {
        positions[batch.partition] = record.offset + 1
        let id = positions.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }.joined(separator: ",")
        return "id: \(id)\ndata: \(RecordJSON.text(record, batch))\n\n"
    }

    func end(_ status: GRPCStatus) -> (head: WebHead, body: ByteBuffer) {
        let error = ConnectError.json(Self.inTermsOfParameters(status))
        guard hasBegun else { return (WebHead(status: status.httpStatus, contentType: "application/json"), error) }
        var body = ByteBuffer(string: "event: error\ndata: ")
        body.writeImmutableBuffer(error)
        body.writeString("\n\n")
        return (Self.head, body)
    }

    /// What a subscription's fields are called here.
    private static func inTermsOfParameters(_ status: GRPCStatus) -> GRPCStatus {
        guard let details = status.details, details.reason == "OFFSET_OUT_OF_RANGE" else { return status }
        let named = Dictionary(details.metadata.map { ($0.key, $0.value) }) { $1 }
        guard let topic = named["topic"], let partition = named["partition"], let offset = named["offset"],
            let start = named["start_offset"], let end = named["end_offset"]
        else { return status }
        return GRPCStatus(
            status.code,
            "offset \(offset) of partition \(partition) of \(topic) is not there: it has \(start) to \(end);"
                + " begin with from=earliest or from=latest, or with an offset that is there",
            details: details)
    }
}

/// A record as JSON for people: bytes that are UTF-8 are strings, others are base64 under another name.
enum RecordJSON {
    static func text(_ record: Martlet_V1_Record, _ batch: Martlet_V1_RecordBatch) -> String {
        let headers = record.headers.map {
            "{\"key\":\(JSONText.quoted($0.key)),\(bytes("value", $0.hasValue ? Array($0.value) : nil))}"
        }
        return "{\"topic\":\(JSONText.quoted(batch.topic)),\"partition\":\(batch.partition),\"offset\":\(record.offset),"
            + "\"timestampMs\":\(record.timestampMs),\(bytes("key", record.hasKey ? Array(record.key) : nil)),"
            + "\(bytes("value", record.hasValue ? Array(record.value) : nil)),\"headers\":[\(headers.joined(separator: ","))]}"
    }

    private static func bytes(_ name: String, _ bytes: [UInt8]?) -> String {
        guard let bytes else { return "\"\(name)\":null" }
        if let text = String(validating: bytes, as: UTF8.self) { return "\"\(name)\":\(JSONText.quoted(text))" }
        return "\"\(name)Base64\":\"\(Base64.encode(bytes))\""
    }
}
