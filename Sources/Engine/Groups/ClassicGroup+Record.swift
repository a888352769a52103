// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a classic group as a record of `__consumer_offsets`, byte for byte Kafka's GroupMetadataValue.
//
// Written is version 3; 0 to 4 are read (1 adds the rebalance timeout, 2 the time of the state, 3 instance ids, 4 is
// flexible). The fields, in order:
//
//   protocol type string, generation int32, protocol string?, leader string?, time of the state int64,
//   [member id string, instance id string?, client id, client host, rebalance timeout int32, session timeout int32,
//    subscription bytes, assignment bytes]

import NIOCore

extension ClassicGroup {
    /// The group as it is between rebalances: members only count with a protocol and their assignments.
    func record(wallMs: Int64) -> [UInt8] {
        let isStable = state == .stable
        var bytes = ByteBuffer()
        bytes.writeInteger(Int16(3))
        bytes.writeKafkaString(protocolType ?? "")
        bytes.writeInteger(generationId)
        bytes.writeNullableKafkaString(isStable ? protocolName : nil)
        bytes.writeNullableKafkaString(isStable ? leaderId : nil)
        bytes.writeInteger(wallMs)
        let members = isStable ? membersByAge : []
        bytes.writeInteger(Int32(members.count))
        for member in members {
            bytes.writeKafkaString(member.id)
            bytes.writeNullableKafkaString(member.groupInstanceId)
            bytes.writeKafkaString(member.clientId)
            bytes.writeKafkaString(member.clientHost)
            bytes.writeInteger(Int32(clamping: member.rebalanceTimeoutMs))
            bytes.writeInteger(Int32(clamping: member.sessionTimeoutMs))
            bytes.writeKafkaBytes(member.metadata(of: protocolName))
            bytes.writeKafkaBytes(member.assignment)
        }
        return Array(bytes.readableBytesView)
    }
}

/// A classic group's record, read.
struct ClassicGroupRecord {
    var protocolType: String?
    var generationId: Int32
    var protocolName: String?
    var leaderId: String?
    /// Wall clock, when it came to its state; nil: not known.
    var stateSinceMs: Int64?
    var members: [GroupMember] = []

    /// nil: malformed.
    init?(_ value: ByteBuffer) {
        var bytes = value
        guard let version = bytes.readInteger(as: Int16.self), (0...4).contains(version) else { return nil }
        let isFlexible = version >= 4
        guard let type = bytes.readText(isFlexible), let type, let generation = bytes.readInteger(as: Int32.self),
            let name = bytes.readText(isFlexible), let leader = bytes.readText(isFlexible)
        else { return nil }
        protocolType = type.isEmpty ? nil : type
        generationId = generation
        protocolName = name
        leaderId = leader
        if version >= 2 {
            guard let sinceMs = bytes.readInteger(as: Int64.self) else { return nil }
            stateSinceMs = sinceMs >= 0 ? sinceMs : nil
        }
        guard let count = bytes.readCount(isFlexible) else { return nil }
        for index in 0..<count {
            guard let member = Self.member(&bytes, version, name ?? "", UInt64(index)) else { return nil }
            members.append(member)
        }
        // Members that cannot be told what they are to use.
        if !members.isEmpty && (name == nil || protocolType == nil) { return nil }
        if Set(members.map(\.id)).count < members.count { return nil }
    }

    private static func member(
        _ bytes: inout ByteBuffer, _ version: Int16, _ protocolName: String, _ sequence: UInt64
    ) -> GroupMember? {
        let isFlexible = version >= 4
        guard let id = bytes.readText(isFlexible), let id else { return nil }
        var instanceId: String?
        if version >= 3 {
            guard let read = bytes.readText(isFlexible) else { return nil }
            instanceId = read
        }
        guard let clientId = bytes.readText(isFlexible), let clientHost = bytes.readText(isFlexible) else { return nil }
        var rebalanceMs: Int32?
        if version >= 1 {
            guard let read = bytes.readInteger(as: Int32.self) else { return nil }
            rebalanceMs = read
        }
        guard let sessionMs = bytes.readInteger(as: Int32.self), let metadata = bytes.readBytes(isFlexible),
            let assignment = bytes.readBytes(isFlexible), !isFlexible || bytes.readTags()
        else { return nil }
        var member = GroupMember(
            id: id, groupInstanceId: instanceId, clientId: clientId ?? "", clientHost: clientHost ?? "",
            sessionTimeoutMs: Int64(sessionMs), rebalanceTimeoutMs: Int64(max(rebalanceMs ?? sessionMs, 0)),
            protocols: [GroupProtocol(name: protocolName, metadata: metadata)], sequence: sequence)
        member.assignment = assignment
        return member
    }
}

extension ByteBuffer {
    mutating func writeNullableKafkaString(_ text: String?) {
        guard let text else {
            writeInteger(Int16(-1))
            return
        }
        writeKafkaString(text)
    }

    fileprivate mutating func writeKafkaBytes(_ bytes: ByteBuffer) {
        writeInteger(Int32(bytes.readableBytes))
        writeImmutableBuffer(bytes)
    }

    fileprivate mutating func readText(_ isFlexible: Bool) -> String?? {
        isFlexible ? readCompactString() : readNullableKafkaString()
    }

    fileprivate mutating func readCount(_ isFlexible: Bool) -> Int? {
        let count = isFlexible ? readUnsignedVarint().map { $0 - 1 } : readInteger(as: Int32.self).map { Int($0) }
        // Each member takes more bytes than that.
        guard let count, count >= 0, count <= readableBytes / 8 else { return nil }
        return count
    }

    /// A copy, so that the log's buffer is not kept.
    fileprivate mutating func readBytes(_ isFlexible: Bool) -> ByteBuffer? {
        if isFlexible { return readCompactBytes().map { ByteBuffer(buffer: $0) } }
        guard let length = readInteger(as: Int32.self), length >= 0 else { return nil }
        return readSlice(length: Int(length)).map { ByteBuffer(bytes: $0.readableBytesView) }
    }
}
