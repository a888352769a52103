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

package struct PublishRequestReader {
    package private(set) var topic = ""
    package private(set) var partition: Int32?
    package private(set) var recordCount = 0
    private let message: ByteBuffer

    private static let firstOnly: [Int32] = [0]
    /// Headers of one record; more: INVALID_ARGUMENT.
    package static let headersMax = 1000

    /// Reads everything but the records. Throws `INVALID_ARGUMENT`.
    package init(_ message: ByteBuffer) throws(GRPCStatus) {
        self.message = message
        var rest = message
        while rest.readableBytes > 0 {
            guard let tag = rest.readProtobufTag() else { throw Self.malformed }
            switch (tag.number, tag.type) {
            case (1, .bytes):
                guard let text = rest.readProtobufBytes() else { throw Self.malformed }
                topic = String(buffer: text)
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
        guard !topic.isEmpty else { throw GRPCStatus(.invalidArgument, "topic is empty") }
        guard recordCount > 0 else { throw GRPCStatus(.invalidArgument, "records is empty") }
        if let partition, partition < 0 { throw GRPCStatus(.invalidArgument, "partition \(partition) is negative") }
    }

    /// The batches to append, in the order in which their partitions first appear. Records with neither a partition
    /// nor a key go to `unkeyed`; records without a timestamp get `nowMs`. Throws `INVALID_ARGUMENT`.
    package func batches(
        partitionCount: Int, unkeyed: Int32, nowMs: Int64
    ) throws(GRPCStatus) -> [PublishBatch] {
        var gathered: [Gathering] = []
        var indexes: [Int32: Int] = [:]
        var position: Int32 = 0
        var rest = message
        while rest.readableBytes > 0 {
            guard let tag = rest.readProtobufTag() else { throw Self.malformed }
            guard tag.number == 3, tag.type == .bytes else {
                guard rest.skipProtobufField(tag.type) else { throw Self.malformed }
                continue
            }
            guard let bytes = rest.readProtobufBytes() else { throw Self.malformed }
            let record = try PublishRecordFields(bytes, position: position)
            let target =
                partition ?? record.key.map { Partitioner.partition(forKey: $0, count: partitionCount) } ?? unkeyed
            var index = gathered.count
            if let last = gathered.last, last.partition == target {
                index -= 1
            } else if let known = indexes[target] {
                index = known
            } else {
                // Almost always all of the request goes to one partition.
                let capacity = gathered.isEmpty ? message.readableBytes + 16 * recordCount + 96 : 1024
                gathered.append(Gathering(target, capacity: capacity))
                indexes[target] = index
            }
            gathered[index].append(record, position: position, nowMs: nowMs)
            position += 1
        }
        var batches: [PublishBatch] = []
        batches.reserveCapacity(gathered.count)
        for index in gathered.indices { batches.append(gathered[index].finish()) }
        return batches
    }

    private struct Gathering {
        let partition: Int32
        private var builder: RecordBatchBuilder
        private var positions: [Int32] = []

        init(_ partition: Int32, capacity: Int) {
            self.partition = partition
            builder = RecordBatchBuilder(capacity: capacity)
        }

        mutating func append(_ record: PublishRecordFields, position: Int32, nowMs: Int64) {
            builder.append(
                key: record.key, value: record.value, headers: record.headers,
                timestamp: record.timestampMs ?? nowMs)
            // The usual single record costs no array of its own.
            if position == 0 { positions = firstOnly } else { positions.append(position) }
        }

        mutating func finish() -> PublishBatch {
            PublishBatch(partition: partition, records: builder.finish(), positions: positions)
        }
    }

    fileprivate static let malformed = GRPCStatus(
        .invalidArgument, "the request is not a martlet.v1.PublishRequest")
}

/// One martlet.v1.PublishRecord; its parts are slices of the request.
private struct PublishRecordFields {
    var key: ByteBuffer?
    var value: ByteBuffer?
    var headers: [RecordHeader] = []
    var timestampMs: Int64?

    init(_ bytes: ByteBuffer, position: Int32) throws(GRPCStatus) {
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
