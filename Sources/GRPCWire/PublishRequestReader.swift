// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: reads a martlet.v1.PublishRequest straight into Kafka record batches.
//
// The fields are walked where they lie; each record is copied once, from the received message into its batch. A
// value. The field numbers are those of proto/martlet/v1/streams.proto; a test compares with swift-protobuf.

import NIOCore
import Records

/// The records of a request that go to one partition, as the batch to append.
package struct PublishBatch {
    package var partition: Int32
    package var records: ByteBuffer
    /// Where the records stand in the request.
    package var positions: [Int32]
}

/// A PublishRequest, or a PublishStreamRequest, which has the same fields.
package struct PublishRequestReader {
    package private(set) var partition: Int32?
    package private(set) var recordCount = 0
    let message: ByteBuffer
    private let name: StaticString
    /// Where the topic's name is in the message; nil: not there, or empty.
    private var topicRange: Range<Int>?

    /// Headers of one record; more: INVALID_ARGUMENT.
    package static let headersMax = 1000

    /// Reads everything but the records, and finds that nothing is missing. Throws `INVALID_ARGUMENT`.
    package init(_ message: ByteBuffer) throws(GRPCStatus) {
        try self.init(parsing: message, as: "martlet.v1.PublishRequest")
        guard topicRange != nil else { throw .invalid("topic", "topic is empty; name the topic to write to") }
        try check()
    }

    /// Only reads. Throws if these bytes are no such message, which is called `name`.
    package init(
        parsing message: ByteBuffer, as name: StaticString = "martlet.v1.PublishStreamRequest"
    ) throws(GRPCStatus) {
        self.message = message
        self.name = name
        let bytes = message.readableBytesUInt8Span
        var cursor = ProtobufCursor(0..<bytes.count)
        while !cursor.isAtEnd {
            guard let tag = cursor.tag(bytes) else { throw malformed }
            switch (tag.number, tag.type) {
            case (1, .bytes):
                guard let text = cursor.bytes(bytes) else { throw malformed }
                topicRange = text.isEmpty ? nil : text
            case (2, .varint):
                guard let value = cursor.varint(bytes) else { throw malformed }
                partition = Int32(truncatingIfNeeded: value)
            case (3, .bytes):
                guard cursor.bytes(bytes) != nil else { throw malformed }
                recordCount += 1
            default:
                guard cursor.skip(tag.type, bytes) else { throw malformed }
            }
        }
    }

    /// The topic's name, as a slice of the message; nil: not there, or empty.
    package var topicBytes: ByteBuffer? { topicRange.flatMap { message.slice($0) } }

    package var topic: String { topicBytes.map { String(buffer: $0) } ?? "" }

    /// About what the records need in a batch, rather more than less.
    var sizeInBatch: Int { message.readableBytes + 24 * recordCount + 64 }

    /// What can be said without the topic. Throws `INVALID_ARGUMENT`.
    package func check() throws(GRPCStatus) {
        guard recordCount > 0 else { throw .invalid("records", "records is empty; give at least one") }
        if let partition, partition < 0 { throw .invalid("partition", "partition \(partition) is negative") }
    }

    /// Puts the records where nothing else is. Throws `INVALID_ARGUMENT`.
    func read(into records: inout [PublishRecordFields]) throws(GRPCStatus) {
        records.removeAll(keepingCapacity: recordCount <= 4096)
        let bytes = message.readableBytesUInt8Span
        var cursor = ProtobufCursor(0..<bytes.count)
        while !cursor.isAtEnd {
            guard let tag = cursor.tag(bytes) else { throw malformed }
            guard tag.number == 3, tag.type == .bytes else {
                guard cursor.skip(tag.type, bytes) else { throw malformed }
                continue
            }
            guard let record = cursor.bytes(bytes) else { throw malformed }
            do throws(GRPCStatus) {
                records.append(try PublishRecordFields(message, record, position: records.count))
            } catch {
                throw error.at("records[\(records.count)]")
            }
        }
    }

    /// The batches to append, in the order in which their partitions first appear. Records with neither a partition
    /// nor a key go to `unkeyed`; records without a timestamp get `nowMs`. Throws `INVALID_ARGUMENT`.
    package func batches(
        partitionCount: Int, unkeyed: Int32, nowMs: Int64
    ) throws(GRPCStatus) -> [PublishBatch] {
        var gathering = RecordGathering(batchBytesMax: .max)
        try gathering.add(
            self, partitionCount: max(partitionCount, Int(partition ?? 0) + 1), unkeyed: unkeyed, nowMs: nowMs)
        return gathering.parts.map { part in
            PublishBatch(
                partition: gathering.partition(of: part.batch), records: gathering.finish(part.batch),
                positions: part.positions ?? Array(0..<part.count))
        }
    }

    private var malformed: GRPCStatus { .malformed(name.description) }
    fileprivate static let malformedRecord = GRPCStatus.malformed("martlet.v1.PublishRecord")
}

/// One martlet.v1.PublishRecord; `key` and `value` are places in the request.
struct PublishRecordFields {
    var key: Range<Int>?
    var value: Range<Int>?
    var headers: [RecordHeader] = []
    var timestampMs: Int64?

    init(_ message: ByteBuffer, _ record: Range<Int>, position: Int) throws(GRPCStatus) {
        let bytes = message.readableBytesUInt8Span
        var cursor = ProtobufCursor(record)
        while !cursor.isAtEnd {
            guard let tag = cursor.tag(bytes) else { throw PublishRequestReader.malformedRecord }
            switch (tag.number, tag.type) {
            case (1, .bytes): key = try Self.field(&cursor, bytes)
            case (2, .bytes): value = try Self.field(&cursor, bytes)
            case (3, .bytes): headers.append(try Self.header(message, try Self.field(&cursor, bytes)))
            case (4, .varint):
                guard let value = cursor.varint(bytes) else { throw PublishRequestReader.malformedRecord }
                timestampMs = Int64(bitPattern: value)
            default:
                guard cursor.skip(tag.type, bytes) else { throw PublishRequestReader.malformedRecord }
            }
        }
        guard headers.count <= PublishRequestReader.headersMax else {
            throw .invalid(
                "records[\(position)].headers",
                "record \(position) has \(headers.count) headers; the limit is \(PublishRequestReader.headersMax)")
        }
        if let timestampMs, timestampMs < 0 {
            throw .invalid(
                "records[\(position)].timestamp_ms", "record \(position) has the negative timestamp_ms \(timestampMs)")
        }
    }

    private static func field(_ cursor: inout ProtobufCursor, _ bytes: Span<UInt8>) throws(GRPCStatus) -> Range<Int> {
        guard let field = cursor.bytes(bytes) else { throw PublishRequestReader.malformedRecord }
        return field
    }

    private static func header(_ message: ByteBuffer, _ field: Range<Int>) throws(GRPCStatus) -> RecordHeader {
        let bytes = message.readableBytesUInt8Span
        var header = RecordHeader(key: "", value: nil)
        var cursor = ProtobufCursor(field)
        while !cursor.isAtEnd {
            guard let tag = cursor.tag(bytes) else { throw PublishRequestReader.malformedRecord }
            switch (tag.number, tag.type) {
            case (1, .bytes):
                let text = message.slice(try Self.field(&cursor, bytes))?.readableBytesView
                guard let text, let key = String(validating: text, as: UTF8.self) else {
                    throw GRPCStatus(.invalidArgument, "INVALID_FIELD", "a header's key is not UTF-8; put bytes into its value")
                }
                header.key = key
            case (2, .bytes):
                header.value = message.slice(try Self.field(&cursor, bytes))
            default:
                guard cursor.skip(tag.type, bytes) else { throw PublishRequestReader.malformedRecord }
            }
        }
        return header
    }
}

extension ByteBuffer {
    /// Bytes of what can be read; they share its storage.
    fileprivate func slice(_ range: Range<Int>) -> ByteBuffer? {
        getSlice(at: readerIndex + range.lowerBound, length: range.count)
    }
}
