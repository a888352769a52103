// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: the hand-written reader of PublishRequest, and the generated messages.
//
//   a byte chooses the message (0: PublishRequest), the rest is the message; those of Work have a target of their own
//
// Properties: where the reader and swift-protobuf both take a request, they read the same; its batches
// hold each record once and pass the validator; generated messages survive being written and read.

import Contract
import GRPCWire
import NIOCore
import Records
import SwiftProtobuf

@Sendable func fuzzProtobuf(_ input: ByteBuffer) throws {
    var bytes = input
    let choice = Int(bytes.choice()) % (generated.count + 1)
    guard choice > 0 else { return try checkPublishRequest(bytes) }
    try generated[choice - 1](bytes.array)
}

private let generated: [@Sendable ([UInt8]) throws -> Void] = [
    roundTrip(Martlet_V1_PublishRequest.self), roundTrip(Martlet_V1_SubscribeRequest.self),
    roundTrip(Martlet_V1_SubscribeResponse.self), roundTrip(Martlet_V1_CommitRequest.self),
    roundTrip(Martlet_V1_CommittedRequest.self), roundTrip(Martlet_V1_CreateTopicRequest.self),
    roundTrip(Martlet_V1_ListTopicsResponse.self), roundTrip(Martlet_V1_DescribeTopicResponse.self),
    roundTrip(Grpc_Health_V1_HealthCheckRequest.self),
    roundTrip(Grpc_Reflection_V1_ServerReflectionRequest.self),
    roundTrip(Grpc_Reflection_V1_ServerReflectionResponse.self),
]

/// A byte chooses the message.
@Sendable func fuzzWorkMessages(_ input: ByteBuffer) throws {
    var bytes = input
    try workMessages[Int(bytes.choice()) % workMessages.count](bytes.array)
}

private let workMessages: [@Sendable ([UInt8]) throws -> Void] = [
    roundTrip(Martlet_V1_ReceiveRequest.self), roundTrip(Martlet_V1_ReceiveResponse.self),
    roundTrip(Martlet_V1_RedriveRequest.self), roundTrip(Martlet_V1_RedriveResponse.self),
    roundTrip(Martlet_V1_DescribeDeadLettersRequest.self), roundTrip(Martlet_V1_DescribeDeadLettersResponse.self),
    roundTrip(Martlet_V1_PublishStreamRequest.self), roundTrip(Martlet_V1_PublishStreamResponse.self),
    roundTrip(Martlet_V1_CommittedResponse.self), roundTrip(Martlet_V1_DeleteTopicRequest.self),
    roundTrip(Martlet_V1_ListTopicsRequest.self), roundTrip(Martlet_V1_DescribeTopicRequest.self),
]

private func roundTrip<Message: SwiftProtobuf.Message & Equatable>(
    _ type: Message.Type
) -> @Sendable ([UInt8]) throws -> Void {
    { bytes in
        guard let message = try? Message(serializedBytes: bytes) else { return }
        let written: [UInt8] = try message.serializedBytes()
        let again = try? Message(serializedBytes: written)
        // NaN is not equal to itself; bytes are.
        let rewritten: [UInt8]? = try again?.serializedBytes()
        try require(
            again == message || rewritten == written, "\(type) changes when it is written and read")
    }
}

private func checkPublishRequest(_ bytes: ByteBuffer) throws {
    guard let reader = try? PublishRequestReader(bytes),
        let batches = try? reader.batches(partitionCount: 3, unkeyed: 1, nowMs: 1000)
    else { return }
    var seen = Set<Int32>()
    var found: [Int32: Record] = [:]
    for batch in batches {
        _ = try BatchValidator(rules: largeRules).validate(batch.records, nowMs: 1000)
        var records = try RecordBatchReader(batch.records, decompressor: Decompressor())
        for position in batch.positions {
            try require(seen.insert(position).inserted, "a record stands in two batches")
            found[position] = try records.next()
        }
        try require(try records.next() == nil, "a batch holds a record without a position")
    }
    try require(seen.count == reader.recordCount, "records are missing from the batches")
    guard let request = try? Martlet_V1_PublishRequest(serializedBytes: bytes.array) else { return }
    try require(request.topic == reader.topic, "the topic is read differently")
    try require(request.records.count == reader.recordCount, "records are counted differently")
    for (position, record) in request.records.enumerated() {
        let key = record.hasKey ? Array(record.key) : nil
        let value = record.hasValue ? Array(record.value) : nil
        let own = found[Int32(position)]
        try require(own?.key?.array == key && own?.value?.array == value, "a record is read differently")
        try require(
            own?.timestamp == (record.hasTimestampMs ? record.timestampMs : 1000),
            "a timestamp is read differently")
        try require(
            own?.headers.map(\.key) == record.headers.map(\.key), "headers are read differently")
    }
}

private let largeRules: BatchRules = {
    var rules = BatchRules()
    rules.depth = .allRecords
    rules.timestampAfterMaxMs = .max
    return rules
}()
