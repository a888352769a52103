// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeLogDirs (key 35, versions 1-4; KIP-113).
//
// A top-level error since 3, the size of the volume since 4 (KIP-827).

import NIOCore

package struct DescribeLogDirsRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topic)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    /// nil: all topics.
    package var topics: [Topic]?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics)
        coder.noTags()
    }
}

extension DescribeLogDirsRequest: KafkaRequest {
    package typealias Response = DescribeLogDirsResponse
    package static let apiKey = ApiKey.describeLogDirs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeLogDirsResponse: FieldStructure {
    package struct Result: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var logDir = ""
        package var topics: [Topic] = []
        /// Bytes of the volume; -1 if unknown.
        package var totalBytes: Int64 = -1
        /// Free bytes of the volume; -1 if unknown.
        package var usableBytes: Int64 = -1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&logDir)
            coder.array(&topics)
            if coder.version >= 4 {
                coder.int64(&totalBytes)
                coder.int64(&usableBytes)
            }
            coder.noTags()
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        /// Bytes of the log's segments.
        package var partitionSize: Int64 = 0
        /// Messages a future replica is behind, or those between high watermark and log end.
        package var offsetLag: Int64 = 0
        /// A replica being moved here by AlterReplicaLogDirs.
        package var isFutureKey = false

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int64(&partitionSize)
            coder.int64(&offsetLag)
            coder.bool(&isFutureKey)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var results: [Result] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        if coder.version >= 3 { coder.errorCode(&errorCode) }
        coder.array(&results)
        coder.noTags()
    }
}

extension DescribeLogDirsResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeLogDirs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
