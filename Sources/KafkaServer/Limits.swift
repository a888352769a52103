// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the bounds of a Kafka connection.

/// Each bound has a defined answer when it is reached, given beside it.
package enum Limits {
    /// Largest request (socket.request.max.bytes, Kafka's default); larger: the connection is closed, the cause logged.
    package static let requestBytes = 100 << 20
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
}
