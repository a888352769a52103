// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what Kafka keeps in records instead of sending it: keys and values of its
// internal topics, control records, and what consumers hand to each other through their group.
//
// Such data says its own version in its first two bytes and is coded like a message from there on,
// by the same walks. The version of a coordinator's key is the kind of its record, so each kind of
// key has exactly one. As in `KafkaMessage`, the entry points are functions of each type, so that
// they are specialised in this module.

import NIOCore

/// A key, a value or a blob with its version in front.
package protocol VersionedRecord: Equatable, Sendable {
    /// The versions defined here.
    static var versions: ClosedRange<Int16> { get }
    /// The first version with compact lengths and tagged fields (KIP-482); nil: none has.
    static var firstFlexible: Int16? { get }
    /// Whether a version above `versions` is read as the highest of them. What it has more stays
    /// unread.
    static var readsNewerVersions: Bool { get }
    /// All fields at their defaults.
    init()
    /// Reads version and fields from the front of `buffer` and moves its reader index past them; on
    /// an error the buffer stays as it was. Fields that the version does not have keep their
    /// defaults.
    init(from buffer: inout ByteBuffer) throws(WireError)
    /// Appends `version` and the fields it has to `buffer`. On an error the buffer is as it was.
    func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError)
}

extension VersionedRecord {
    package static var readsNewerVersions: Bool { false }

    static func isFlexible(_ version: Int16) -> Bool {
        guard let firstFlexible else { return false }
        return version >= firstFlexible
    }
}

extension VersionedRecord where Self: FieldStructure {
    @inline(__always)
    static func decode(from buffer: inout ByteBuffer) throws(WireError) -> Self {
        var rest = buffer
        guard let said = rest.readInteger(as: Int16.self) else {
            throw WireError(
                .truncated(needed: prefixLength, remaining: buffer.readableBytes), offset: 0,
                message: String(describing: Self.self))
        }
        let version = readsNewerVersions ? min(said, versions.upperBound) : said
        guard versions.contains(version) else { throw unsupported(said) }
        do throws(WireError) {
            let record = try FieldDecoder.decode(
                Self.self, from: &rest, version: version, isFlexible: isFlexible(version))
            buffer = rest
            return record
        } catch {
            throw WireError(
                error.kind, offset: prefixLength + error.offset, message: error.message)
        }
    }

    @inline(__always)
    func encodeFields(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        guard Self.versions.contains(version) else { throw Self.unsupported(version) }
        let start = buffer.writerIndex
        buffer.writeInteger(version)
        do throws(WireError) {
            try FieldEncoder.encode(
                self, into: &buffer, version: version, isFlexible: Self.isFlexible(version))
        } catch {
            buffer.moveWriterIndex(to: start)
            throw WireError(
                error.kind, offset: Self.prefixLength + error.offset, message: error.message)
        }
    }

    /// The bytes of the version in front.
    private static var prefixLength: Int { MemoryLayout<Int16>.size }

    private static func unsupported(_ version: Int16) -> WireError {
        WireError(.unsupportedVersion(version), offset: 0, message: String(describing: Self.self))
    }
}
