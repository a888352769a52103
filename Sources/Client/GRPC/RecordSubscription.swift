// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: a subscription over gRPC, for command lines.
//
// A value that says what to read; running it blocks its thread. Records come in the same form as
// from Kafka's protocol, so that they are printed alike.

import Contract
import FoundationEssentials
import NIOCore
import Records
import SwiftProtobuf

/// Conditions that a record has to meet together; the broker looks.
package struct RecordSelection: Equatable, Sendable {
    package var key: String?
    package var keyPrefix: String?
    package var valuePrefix: String?
    /// `name`, or `name=value`.
    package var headers: [String]

    package init(
        key: String? = nil, keyPrefix: String? = nil, valuePrefix: String? = nil, headers: [String] = []
    ) {
        self.key = key
        self.keyPrefix = keyPrefix
        self.valuePrefix = valuePrefix
        self.headers = headers
    }

    /// nil: every record is wanted.
    var message: Martlet_V1_RecordFilter? {
        guard self != RecordSelection() else { return nil }
        return .with { filter in
            if let key { filter.key = .init(key.utf8) }
            if let keyPrefix { filter.keyPrefix = .init(keyPrefix.utf8) }
            if let valuePrefix { filter.valuePrefix = .init(valuePrefix.utf8) }
            filter.headers = headers.map { text in
                let name = text.prefix { $0 != "=" }
                return .with {
                    $0.key = String(name)
                    if name.count < text.count { $0.value = .init(text.utf8.dropFirst(name.utf8.count + 1)) }
                }
            }
        }
    }
}

package struct RecordSubscription: Equatable, Sendable {
    package var topics: [String]
    /// Of every topic; empty: all.
    package var partitions: [Int32]
    package var from: StartPosition
    /// Begin where it has committed; `from` counts where it has not.
    package var group: String?
    package var stopsAtEnd: Bool
    package var maxRecords: Int?
    /// Also topics whose names match, with `*` and `?`.
    package var pattern: String?
    /// What records must be like.
    package var filter: RecordSelection
    package var readsUncommitted: Bool

    package init(
        topics: [String], partitions: [Int32] = [], from: StartPosition, group: String? = nil,
        stopsAtEnd: Bool = false, maxRecords: Int? = nil, pattern: String? = nil,
        filter: RecordSelection = RecordSelection(), readsUncommitted: Bool = false
    ) {
        self.pattern = pattern
        self.filter = filter
        self.readsUncommitted = readsUncommitted
        self.topics = topics
        self.partitions = partitions
        self.from = from
        self.group = group
        self.stopsAtEnd = stopsAtEnd
        self.maxRecords = maxRecords
    }

    /// Subscribes; `body` gets the records of each message and answers whether to go on.
    package func run(
        _ connection: ConnectionOptions,
        _ body: ([ReadRecord]) throws(ClientError) -> Bool
    ) throws(ClientError) {
        let request = try self.request()
        let client = try GRPCClient(connection)
        try client.subscribe(request) { (response) throws(ClientError) in
            for batch in response.batches {
                let records = batch.records.map { Self.record($0, of: batch) }
                guard try body(records) else { return false }
            }
            return true
        }
    }

    func request() throws(ClientError) -> Martlet_V1_SubscribeRequest {
        var request = Martlet_V1_SubscribeRequest()
        request.topics = topics.map { topic in
            var selection = Martlet_V1_TopicSelection()
            selection.topic = topic
            selection.partitions = partitions.map { partition in
                var wanted = Martlet_V1_PartitionSelection()
                wanted.partition = partition
                return wanted
            }
            return selection
        }
        request.topicPattern = pattern ?? ""
        if let filter = filter.message { request.filters = [filter] }
        if readsUncommitted { request.isolation = .readUncommitted }
        request.untilEnd = stopsAtEnd
        request.maxRecords = UInt64(maxRecords ?? 0)
        switch from {
        case .earliest: request.origin = .earliest
        case .latest: request.origin = .latest
        case .offset(let offset): request.offset = offset
        case .timestamp(let ms): request.timestampMs = ms
        }
        guard let group else { return request }
        guard request.start == nil else {
            throw ClientError(
                .invalidArgument, "--group goes with --from earliest or --from latest only")
        }
        request.group = group
        return request
    }

    private static func record(
        _ record: Martlet_V1_Record, of batch: Martlet_V1_RecordBatch
    ) -> ReadRecord {
        let headers = record.headers.map { header in
            RecordHeader(
                key: header.key, value: header.hasValue ? ByteBuffer(bytes: header.value) : nil)
        }
        return ReadRecord(
            topic: batch.topic, partition: batch.partition,
            record: Record(
                offset: record.offset, timestamp: record.timestampMs,
                key: record.hasKey ? ByteBuffer(bytes: record.key) : nil,
                value: record.hasValue ? ByteBuffer(bytes: record.value) : nil, headers: headers))
    }
}
