// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the bounds of what administrators ask for, and of clients' telemetry.

extension Limits {
    /// Partitions of one DescribeTopicPartitions answer (max.request.partition.size.limit, Kafka's default); the rest is
    /// behind the answer's cursor.
    static let partitionsPerDescription: Int32 = 2_000
    /// Bytes of metrics in one PushTelemetry (telemetry.max.bytes, Kafka's default); more: TELEMETRY_TOO_LARGE.
    static let telemetryBytes = 1 << 20
    /// Bytes that such metrics may have decompressed; more: INVALID_RECORD.
    static let decompressedTelemetryBytes = 16 << 20
    /// Clients whose telemetry is known at a time (Kafka's number); the one that was silent longest is forgotten.
    static let telemetryClients = 16_384
}
