// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: which records of `__consumer_offsets` a group has of its own, beside its offsets.
//
// Byte for byte Kafka's keys: int16 kind, string group, and for some kinds string of what in the group it is about. The
// last record of a key counts; one without a value says that there is nothing (any more).

import NIOCore

enum GroupRecordKey: Hashable, Sendable {
    /// A classic group: protocol, generation, members, assignments.
    case classic
    /// A consumer group's epoch.
    case metadata
    /// The topics that a consumer group knows.
    case topics
    /// What a member said.
    case member(String)
    /// The epoch of the target assignment.
    case targetEpoch
    /// What a member is to have.
    case target(String)
    /// What a member has.
    case current(String)
    /// What a regular expression matches.
    case pattern(String)

    /// The version that a key of this kind begins with.
    var kind: Int16 {
        switch self {
        case .classic: 2
        case .metadata: 3
        case .topics: 4
        case .member: 5
        case .targetEpoch: 6
        case .target: 7
        case .current: 8
        case .pattern: 16
        }
    }

    private var detail: String? {
        switch self {
        case .classic, .metadata, .topics, .targetEpoch: nil
        case .member(let text), .target(let text), .current(let text), .pattern(let text): text
        }
    }

    /// An order that is the same in every process.
    func isBefore(_ other: GroupRecordKey) -> Bool {
        (kind, detail ?? "") < (other.kind, other.detail ?? "")
    }

    func encode(groupId: String) -> [UInt8] {
        var bytes = ByteBuffer()
        bytes.writeInteger(kind)
        bytes.writeKafkaString(groupId)
        if let detail { bytes.writeKafkaString(detail) }
        return Array(bytes.readableBytesView)
    }

    /// The rest of a key after its kind; nil: malformed, or of another kind.
    static func decode(kind: Int16, _ bytes: ByteBuffer) -> (groupId: String, key: GroupRecordKey)? {
        var bytes = bytes
        guard let groupId = bytes.readKafkaString() else { return nil }
        let simple: GroupRecordKey? =
            switch kind {
            case 2: .classic
            case 3: .metadata
            case 4: .topics
            case 6: .targetEpoch
            default: nil
            }
        if let simple { return bytes.readableBytes == 0 ? (groupId, simple) : nil }
        guard let detail = bytes.readKafkaString(), bytes.readableBytes == 0 else { return nil }
        switch kind {
        case 5: return (groupId, .member(detail))
        case 7: return (groupId, .target(detail))
        case 8: return (groupId, .current(detail))
        case 16: return (groupId, .pattern(detail))
        default: return nil
        }
    }

    /// Whether keys of this kind are read here.
    static func isKnown(kind: Int16) -> Bool { (2...8).contains(kind) || kind == 16 }
}
