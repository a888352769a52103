// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: Produce (key 0, versions 3-12).
//
// Records are slices of the received buffer, unparsed: keeping one keeps the whole buffer. In the
// response: log start offset since 5, errors per record since 8 (KIP-467), the current leader since
// 10 (KIP-951). Versions 11 and 12 look like 10; 12 means that the broker adds partitions to a
// transaction by itself (KIP-890).

import NIOCore

package struct ProduceRequest: FieldStructure {
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
        package var index: Int32 = 0
        /// Record batches as they came; nil if null was sent.
        package var records: ByteBuffer?

        package init() {}

        package init(index: Int32, records: ByteBuffer?) {
            self.index = index
            self.records = records
        }

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&index)
            coder.records(&records)
            coder.noTags()
        }
    }

    package var transactionalId: String?
    /// 0 no reply, 1 the leader has it, -1 all in-sync replicas have it.
    package var acks: Int16 = 0
    package var timeoutMs: Int32 = 0
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&transactionalId)
        coder.int16(&acks)
        coder.int32(&timeoutMs)
        coder.array(&topics)
        coder.noTags()
    }
}

extension ProduceRequest: KafkaRequest {
    package typealias Response = ProduceResponse
    package static let apiKey = ApiKey.produce

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ProduceResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var partitions: [Partition] = []

        package init() {}

        package init(name: String, partitions: [Partition]) {
            self.name = name
            self.partitions = partitions
        }

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var index: Int32 = 0
        package var errorCode = KafkaErrorCode.none
        package var baseOffset: Int64 = 0
        /// Broker's time if the topic uses LogAppendTime, else -1.
        package var logAppendTimeMs: Int64 = -1
        package var logStartOffset: Int64 = -1
        package var recordErrors: [RecordError] = []
        package var errorMessage: String?
        package var currentLeader = LeaderIdAndEpoch()

        package init() {}

        package init(index: Int32, errorCode: KafkaErrorCode, baseOffset: Int64 = -1) {
            self.index = index
            self.errorCode = errorCode
            self.baseOffset = baseOffset
        }

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&index)
            coder.errorCode(&errorCode)
            coder.int64(&baseOffset)
            coder.int64(&logAppendTimeMs)
            if coder.version >= 5 { coder.int64(&logStartOffset) }
            if coder.version >= 8 {
                coder.array(&recordErrors)
                coder.string(&errorMessage)
            }
            guard coder.version >= 10 else { return coder.noTags() }
            var tags = coder.beginTags()
            while coder.next(&tags) {
                if coder.tag(0, &tags, present: currentLeader.isKnown) {
                    currentLeader.walk(&coder)
                }
            }
        }
    }

    package struct RecordError: FieldStructure, Equatable, Sendable {
        package var batchIndex: Int32 = 0
        package var batchIndexErrorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&batchIndex)
            coder.string(&batchIndexErrorMessage)
            coder.noTags()
        }
    }

    package var topics: [Topic] = []
    package var throttleTimeMs: Int32 = 0
    package var nodeEndpoints: [NodeEndpoint] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics)
        coder.int32(&throttleTimeMs)
        guard coder.version >= 10 else { return coder.noTags() }
        var tags = coder.beginTags()
        while coder.next(&tags) {
            if coder.tag(0, &tags, present: !nodeEndpoints.isEmpty) {
                coder.array(&nodeEndpoints)
            }
        }
    }
}

extension ProduceResponse: KafkaResponse {
    package static let apiKey = ApiKey.produce

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
