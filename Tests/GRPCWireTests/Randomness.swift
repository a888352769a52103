// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWireTests: random records from a printed seed.

import Contract
import GRPCWire
import NIOCore
import Records

struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    mutating func bytes(upTo count: Int) -> [UInt8] {
        (0..<Int.random(in: 0...count, using: &self)).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    mutating func maybeBytes(upTo count: Int) -> ByteBuffer? {
        Int.random(in: 0..<4, using: &self) == 0 ? nil : ByteBuffer(bytes: bytes(upTo: count))
    }

    mutating func record(valueBytes: Int = 300) -> Record {
        let count = [0, 0, 0, 1, 3].randomElement(using: &self) ?? 0
        let headers = (0..<count).map { index in
            RecordHeader(key: ["", "trace", "schlüssel-\(index)"][index % 3], value: maybeBytes(upTo: 20))
        }
        return Record(
            offset: 0, timestamp: Int64.random(in: 0...2_000_000_000_000, using: &self),
            key: maybeBytes(upTo: 40), value: maybeBytes(upTo: valueBytes), headers: headers)
    }
}

extension ByteBuffer {
    var array: [UInt8] { Array(readableBytesView) }
}

extension Array where Element == Record {
    /// A batch of these records; their offsets count from `baseOffset`.
    func batch(baseOffset: Int64, compression: CompressionType = .none) -> ByteBuffer {
        var builder = RecordBatchBuilder(compression: compression)
        for record in self {
            builder.append(
                key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp)
        }
        return builder.finish(baseOffset: baseOffset)
    }
}
