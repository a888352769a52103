// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: what a subscriber sends besides Protocol Buffers: resume tokens, topic patterns, filters.
//
//   a byte chooses: 0 a token, 1 a token whose checksum is made right, 2 a pattern, a zero byte and a name,
//   3 filters: a length, so many bytes of a SubscribeRequest, then records (a byte for the length of the key, the key, a
//   byte for that of the value, the value; a header named like the key with this value)
//
// Properties: a token is read as it was written; pattern and filters take exactly what the plainest code takes.

import Bytes
import Contract
import GRPCWire
import NIOCore
import Records
import SwiftProtobuf

@testable import GRPCServer

@Sendable func fuzzSubscription(_ input: ByteBuffer) throws {
    var bytes = input
    switch bytes.choice() % 4 {
    case 0: try checkToken(bytes)
    case 1:
        // SAFETY: the pointer is used within the closure only.
        let checksum = unsafe bytes.withUnsafeReadableBytes { unsafe crc32c($0) }
        bytes.writeInteger(checksum)
        try checkToken(bytes)
    case 2: try checkPattern(bytes)
    default: try checkFilters(bytes)
    }
}

private func checkToken(_ bytes: ByteBuffer) throws {
    guard let token = ResumeToken(bytes) else { return }
    let partitions = token.topics.reduce(0) { $0 + $1.offsets.count }
    try require(partitions <= ResumeToken.partitionsMax, "a token has more partitions than are allowed")
    try require(ResumeToken(token.bytes) == token, "a token changes when it is written and read")
}

private func checkPattern(_ bytes: ByteBuffer) throws {
    let parts = bytes.array.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let glob = TopicGlob(String(decoding: parts[0], as: UTF8.self)) else { return }
    let name = Array(String(decoding: parts[1].prefix(249), as: UTF8.self).utf8)
    let matches = glob.matches(String(decoding: name, as: UTF8.self))
    try require(matches == plainly(Array(parts[0]), name), "a pattern matches what it should not, or does not what it should")
}

/// Which prefixes of the name the pattern so far matches, one character of the pattern after the other.
private func plainly(_ pattern: [UInt8], _ name: [UInt8]) -> Bool {
    var reached = [Bool](repeating: false, count: name.count + 1)
    reached[0] = true
    for character in pattern {
        if character == UInt8(ascii: "*") {
            for index in name.indices where reached[index] { reached[index + 1] = true }
        } else {
            for index in name.indices.reversed() {
                reached[index + 1] = reached[index] && (character == UInt8(ascii: "?") || character == name[index])
            }
            reached[0] = false
        }
    }
    return reached[name.count]
}

private func checkFilters(_ input: ByteBuffer) throws {
    var bytes = input
    let requestBytes = bytes.take(Int(bytes.wideChoice())).array
    guard let request = try? Martlet_V1_SubscribeRequest(serializedBytes: requestBytes),
        let filters = try? RecordFilters(request.filters)
    else { return }
    var builder = RecordBatchBuilder()
    var wanted: [Int64] = []
    var count: Int64 = 0
    while bytes.readableBytes > 0, count < 100 {
        let key = bytes.take(Int(bytes.choice() & 15)).ownCopy
        let value = bytes.take(Int(bytes.choice() & 15)).ownCopy
        let isKeyless = key.readableBytes == 15
        let header = RecordHeader(key: String(buffer: key), value: value)
        builder.append(
            key: isKeyless ? nil : key, value: value, headers: isKeyless ? [] : [header], timestamp: 0)
        let isWanted = request.filters.contains {
            plainly($0, key: isKeyless ? nil : key.array, value: value.array, header: isKeyless ? nil : header)
        }
        if isWanted { wanted.append(count) }
        count += 1
    }
    guard count > 0 else { return }
    let reader = try RecordBatchReader(builder.finish(), decompressor: Decompressor())
    var cursor = reader.start
    var from: Int64 = 0
    var output = ByteBuffer()
    var writer = RecordStreamWriter(into: &output)
    writer.beginBatch(RecordStreamWriter.partitionFields(topic: "t", partition: 0), highWatermark: count, into: &output)
    _ = try writer.append(
        reader.records, cursor: &cursor, from: &from,
        limits: RecordStreamWriter.Limits(bytesMax: 1 << 20, recordsMax: .max), filters: filters, into: &output)
    writer.endBatch(in: &output)
    writer.finish(&output)
    var found: [Int64] = []
    if output.readableBytes > 5 {
        let message = try Martlet_V1_SubscribeResponse(serializedBytes: Array(output.readableBytesView.dropFirst(5)))
        found = message.batches.flatMap(\.records).map(\.offset)
    }
    try require(found == wanted, "filters let \(found) through, not \(wanted)")
}

private func plainly(
    _ filter: Martlet_V1_RecordFilter, key: [UInt8]?, value: [UInt8], header: RecordHeader?
) -> Bool {
    if filter.hasKey, key != Array(filter.key) { return false }
    if filter.hasKeyPrefix, key.map({ $0.starts(with: filter.keyPrefix) }) != true { return false }
    if filter.hasValuePrefix, !value.starts(with: filter.valuePrefix) { return false }
    return filter.headers.allSatisfy { wanted in
        guard let header, Array(header.key.utf8) == Array(wanted.key.utf8) else { return false }
        return !wanted.hasValue || header.value?.array == Array(wanted.value)
    }
}
