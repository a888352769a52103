// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: key and value of the records in control batches: how a transaction ended.
//
// A version from the future is read as the newest known, as Kafka does.

import NIOCore

package struct ControlRecordType: FieldStructure {
    /// Values of `type`; others (KRaft's) say nothing about transactions.
    package static let abort: Int16 = 0
    package static let commit: Int16 = 1

    package var type = abort

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int16(&type)
        coder.noTags()
    }
}

extension ControlRecordType: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = nil
    package static let readsNewerVersions = true

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct EndTxnMarker: FieldStructure {
    /// Of the transaction coordinator that wrote the marker.
    package var coordinatorEpoch: Int32 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&coordinatorEpoch)
        coder.noTags()
    }
}

extension EndTxnMarker: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = nil
    package static let readsNewerVersions = true

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
