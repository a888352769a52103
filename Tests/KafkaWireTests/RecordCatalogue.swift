// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: every record with a version of its own, for tests that run over all.

import NIOCore
import Testing

@testable import KafkaWire

/// One record type with what tests do to it, the type erased.
struct CataloguedRecord: Sendable, CustomTestStringConvertible {
    let name: String
    let versions: ClosedRange<Int16>
    let readsNewerVersions: Bool
    /// The bytes of a record filled by `FillingCoder`, encoded in a version.
    let filled: @Sendable (Int16, FillingCoder.Content) throws -> ByteBuffer
    /// Whether these bytes decode to the record that `FillingCoder` makes for a version, and how
    /// many of them are not read.
    let decodesToFilled:
        @Sendable (ByteBuffer, Int16, FillingCoder.Content) throws -> (Bool, unread: Int)
    /// Decodes, and says how much memory the record holds (`FootprintCoder`).
    let footprint: @Sendable (ByteBuffer) throws -> Int

    var testDescription: String { name }

    init<Record: VersionedRecord & FieldStructure>(_ type: Record.Type) {
        name = "\(type)"
        versions = type.versions
        readsNewerVersions = type.readsNewerVersions
        @Sendable func fill(_ version: Int16, _ content: FillingCoder.Content) -> Record {
            var coder = FillingCoder(
                version: version, isFlexible: Record.isFlexible(version), content: content)
            var record = Record()
            record.walk(&coder)
            return record
        }
        filled = { version, content in
            var buffer = ByteBuffer()
            try fill(version, content).encode(into: &buffer, version: version)
            return buffer
        }
        decodesToFilled = { bytes, version, content in
            var buffer = bytes
            let record = try Record(from: &buffer)
            return (record == fill(version, content), buffer.readableBytes)
        }
        footprint = { bytes in
            var buffer = bytes
            var record = try Record(from: &buffer)
            let version = bytes.getInteger(at: bytes.readerIndex, as: Int16.self) ?? 0
            var coder = FootprintCoder(version: min(version, Record.versions.upperBound))
            record.walk(&coder)
            return coder.total
        }
    }

    static let all: [CataloguedRecord] = [
        CataloguedRecord(GroupMetadataKey.self),
        CataloguedRecord(GroupMetadataValue.self),
        CataloguedRecord(ConsumerGroupMetadataKey.self),
        CataloguedRecord(ConsumerGroupMetadataValue.self),
        CataloguedRecord(ConsumerGroupPartitionMetadataKey.self),
        CataloguedRecord(ConsumerGroupPartitionMetadataValue.self),
        CataloguedRecord(ConsumerGroupRegularExpressionKey.self),
        CataloguedRecord(ConsumerGroupRegularExpressionValue.self),
        CataloguedRecord(ConsumerGroupMemberMetadataKey.self),
        CataloguedRecord(ConsumerGroupMemberMetadataValue.self),
        CataloguedRecord(ConsumerGroupCurrentMemberAssignmentKey.self),
        CataloguedRecord(ConsumerGroupCurrentMemberAssignmentValue.self),
        CataloguedRecord(ConsumerGroupTargetAssignmentMetadataKey.self),
        CataloguedRecord(ConsumerGroupTargetAssignmentMetadataValue.self),
        CataloguedRecord(ConsumerGroupTargetAssignmentMemberKey.self),
        CataloguedRecord(ConsumerGroupTargetAssignmentMemberValue.self),
        CataloguedRecord(TransactionLogKey.self),
        CataloguedRecord(TransactionLogValue.self),
        CataloguedRecord(ControlRecordType.self),
        CataloguedRecord(EndTxnMarker.self),
        CataloguedRecord(ConsumerProtocolSubscription.self),
        CataloguedRecord(ConsumerProtocolAssignment.self),
    ]
}
