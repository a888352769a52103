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
    /// nil: not there, or empty.
    package private(set) var topicBytes: ByteBuffer?
    package private(set) var partition: Int32?
    package private(set) var recordCount = 0
    private let message: ByteBuffer

    /// Headers of one record; more: INVALID_ARGUMENT.
    package static let headersMax = 1000

    /// Reads everything but the records, and finds that nothing is missing. Throws `INVALID_ARGUMENT`.
    package init(_ message: ByteBuffer) throws(GRPCStatus) {
        try self.init(parsing: message)
        guard topicBytes != nil else { throw GRPCStatus(.invalidArgument, "topic is empty") }
        try check()
    }

    /// Only reads. Throws if these bytes are no such message.
    package init(parsing message: ByteBuffer) throws(GRPCStatus) {
        self.message = message
        var rest = message
        while rest.readableBytes > 0 {
            guard let tag = rest.readProtobufTag() else { throw Self.malformed }
            switch (tag.number, tag.type) {
            case (1, .bytes):
                guard let text = rest.readProtobufBytes() else { throw Self.malformed }
                topicBytes = text.readableBytes > 0 ? text : nil
            case (2, .varint):
                guard let value = rest.readProtobufVarint() else { throw Self.malformed }
                partition = Int32(truncatingIfNeeded: value)
            case (3, .bytes):
                guard rest.readProtobufBytes() != nil else { throw Self.malformed }
                recordCount += 1
            default:
                guard rest.skipProtobufField(tag.type) else { throw Self.malformed }
            }
        }
    }

    package var topic: String { topicBytes.map { String(buffer: $0) } ?? "" }

    /// About what the records need in a batch, rather more than less.
    var sizeInBatch: Int { message.readableBytes + 24 * recordCount + 64 }

    /// What can be said without the topic. Throws `INVALID_ARGUMENT`.
    package func check() throws(GRPCStatus) {
        guard recordCount > 0 else { throw GRPCStatus(.invalidArgument, "records is empty") }
        if let partition, partition < 0 { throw GRPCStatus(.invalidArgument, "partition \(partition) is negative") }
    }

    /// Puts the records where nothing else is. Throws `INVALID_ARGUMENT`.
    func read(into records: inout [PublishRecordFields]) throws(GRPCStatus) {
        records.removeAll(keepingCapacity: recordCount <= 4096)
        var rest = message
        while rest.readableBytes > 0 {
            guard let tag = rest.readProtobufTag() else { throw Self.malformed }
            guard tag.number == 3, tag.type == .bytes else {
                guard rest.skipProtobufField(tag.type) else { throw Self.malformed }
                continue
            }
            guard let bytes = rest.readProtobufBytes() else { throw Self.malformed }
            records.append(try PublishRecordFields(bytes, position: records.count))
        }
    }

    /// The batches to append, in the order in which their partitions first appear. Records with neither a partition
    /// nor a key go to `unkeyed`; records without a timestamp get `nowMs`. Throws `INVALID_ARGUMENT`.
    package func batches(
        partitionCount: Int, unkeyed: Int32, nowMs: Int64
    ) throws(GRPCStatus) -> [PublishBatch] {
        var gathering = RecordGathering(batchBytesMax: .max)
        let parts = try gathering.add(
            self, partitionCount: max(partitionCount, Int(partition ?? 0) + 1), unkeyed: unkeyed, nowMs: nowMs)
        return parts.map { part in
            PublishBatch(
                partition: gathering.partition(of: part.batch), records: gathering.finish(part.batch),
                positions: part.positions ?? Array(0..<part.count))
        }
    }

    fileprivate static let malformed = GRPCStatus(
        .invalidArgument, "the request is not a martlet.v1.PublishRequest")
}

/// One martlet.v1.PublishRecord; its parts are slices of the request.
struct PublishRecordFields {
    var key: ByteBuffer?
    var value: ByteBuffer?
    var headers: [RecordHeader] = []
    var timestampMs: Int64?

    init(_ bytes: ByteBuffer, position: Int) throws(GRPCStatus) {
        var rest = bytes
        while rest.readableBytes > 0 {
            guard let tag = rest.readProtobufTag() else { throw PublishRequestReader.malformed }
            switch (tag.number, tag.type) {
            case (1, .bytes): key = try Self.field(&rest)
            case (2, .bytes): value = try Self.field(&rest)
            case (3, .bytes): headers.append(try Self.header(try Self.field(&rest)))
            case (4, .varint):
                guard let value = rest.readProtobufVarint() else { throw PublishRequestReader.malformed }
                timestampMs = Int64(bitPattern: value)
            default:
                guard rest.skipProtobufField(tag.type) else { throw PublishRequestReader.malformed }
            }
        }
        guard headers.count <= PublishRequestReader.headersMax else {
            throw GRPCStatus(
                .invalidArgument,
                "record \(position) has \(headers.count) headers; the limit is \(PublishRequestReader.headersMax)")
        }
        if let timestampMs, timestampMs < 0 {
            throw GRPCStatus(.invalidArgument, "record \(position) has the negative timestamp_ms \(timestampMs)")
        }
    }

    private static func field(_ rest: inout ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        guard let bytes = rest.readProtobufBytes() else { throw PublishRequestReader.malformed }
        return bytes
    }

    private static func header(_ bytes: ByteBuffer) throws(GRPCStatus) -> RecordHeader {
        var header = RecordHeader(key: "", value: nil)
        var rest = bytes
        while rest.readableBytes > 0 {
            guard let tag = rest.readProtobufTag() else { throw PublishRequestReader.malformed }
            switch (tag.number, tag.type) {
            case (1, .bytes):
                let text = try field(&rest)
                guard let key = String(validating: text.readableBytesView, as: UTF8.self) else {
                    throw GRPCStatus(.invalidArgument, "a header's key is not UTF-8")
                }
                header.key = key
            case (2, .bytes):
                header.value = try field(&rest)
            default:
                guard rest.skipProtobufField(tag.type) else { throw PublishRequestReader.malformed }
            }
        }
        return header
    }
}
