// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: AlterReplicaLogDirs (key 34, versions 1-2; KIP-113): moves replicas to other
// log directories.

import NIOCore

package struct AlterReplicaLogDirsRequest: FieldStructure {
    package struct Dir: FieldStructure, Equatable, Sendable {
        /// The absolute path of the directory to move to.
        package var path = ""
        package var topics: [Topic] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&path)
            coder.array(&topics)
            coder.noTags()
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    package var dirs: [Dir] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&dirs)
        coder.noTags()
    }
}

extension AlterReplicaLogDirsRequest: KafkaRequest {
    package typealias Response = AlterReplicaLogDirsResponse
    package static let apiKey = ApiKey.alterReplicaLogDirs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct AlterReplicaLogDirsResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var errorCode = KafkaErrorCode.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var results: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&results)
        coder.noTags()
    }
}

extension AlterReplicaLogDirsResponse: KafkaResponse {
    package static let apiKey = ApiKey.alterReplicaLogDirs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
