// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the bounds of a Kafka connection.

import NIOCore

/// Each bound has a defined answer when it is reached, given beside it.
package enum Limits {
    /// Largest request (socket.request.max.bytes, Kafka's default); larger: the connection is closed, the cause logged.
    package static let requestBytes = 100 << 20
    /// Largest request other than Produce; larger: the connection is closed, the cause logged.
    package static let otherRequestBytes = 16 << 20
    /// Bytes of one connection's unanswered requests, and of its answers that wait for earlier ones; no further
    /// request is begun until there is less.
    static let heldBytes = 32 << 20
    /// Replies of more bytes than this are sent before the next request is begun.
    static let unsentReplyBytes = 256 << 10
    /// Records of one Produce request, decompressed: this many bytes, and `decompressedRatio` times the request's;
    /// the batches that bring more: INVALID_RECORD.
    static let decompressedBytes = 64 << 20
    static let decompressedRatio = 16
    /// Partitions of one Fetch, ListOffsets, DeleteRecords or OffsetForLeaderEpoch request (a broker has no more);
    /// more: the connection is closed, the cause logged.
    static let partitionsPerRequest = 100_000
    /// Resources of one DescribeConfigs, IncrementalAlterConfigs or CreatePartitions request; more: as above.
    static let resourcesPerRequest = 10_000
    /// Requests of one connection that are not answered yet; more are not read until some are.
    static let requestsInFlight = 256
    /// An unfinished request up to this size needs no share of the memory of all connections (queued.max.request.bytes);
    /// a larger one waits for its share before the rest of it is read.
    static let unreservedRequestBytes = 8 << 10
    /// A frame's buffer is reserved whole up to this size; a larger one grows with the bytes that really arrive.
    static let reservedFrameBytes = 2 << 20
    /// Bytes of records in one Fetch response (fetch.max.bytes, Kafka's default), whatever the client asks for.
    static let fetchBytes = 55 << 20
    /// Topics of one Metadata, CreateTopics or DeleteTopics request; more: INVALID_REQUEST.
    static let topicsPerRequest = 10_000
    /// A reply buffer larger than this is given back after use instead of kept for the next reply.
    static let keptReplyBytes = 64 << 10
    /// Largest request before a login (sasl.server.max.receive.size, Kafka's default); larger: the connection is closed.
    static let loginRequestBytes = 512 << 10
    /// Within this a connection that has to log in has done so, or is closed, the cause logged.
    static let loginDeadlineMs: Int64 = 60_000
    /// How long a connection is kept after a failed login before it is closed.
    static let failedLoginDelay = TimeAmount.milliseconds(100)
}
