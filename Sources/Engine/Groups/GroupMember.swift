// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one member of a classic group, as its group's state machine keeps it.
//
// Owned by its `ClassicGroup`, which alone changes it. At most one join and one sync of a member are parked at
// a time; the tokens stand for them.

import NIOCore

/// Stands for a parked request; unique within a coordinator.
package struct GroupToken: Hashable, Sendable {
    package var value: UInt64

    package init(_ value: UInt64) {
        self.value = value
    }
}

struct GroupMember: Sendable {
    var id: String
    let groupInstanceId: String?
    let clientId: String
    let clientHost: String
    /// Orders members by age: the oldest is next in line as leader. A replaced static member keeps its place.
    let sequence: UInt64
    var sessionTimeoutMs: Int64
    var rebalanceTimeoutMs: Int64
    /// In order of preference, names distinct.
    var protocols: [GroupProtocol]
    var assignment = ByteBuffer()
    var joinToken: GroupToken?
    var syncToken: GroupToken?
    /// Joined for the first time and not yet answered.
    var isNew = true
    /// When it will be given up, unless it is heard of; nil while its own parked request waits for others.
    var deadlineMs: Int64?

    init(id: String, request: GroupJoinRequest, sequence: UInt64, token: GroupToken) {
        self.id = id
        groupInstanceId = request.groupInstanceId
        clientId = request.clientId
        clientHost = request.clientHost
        self.sequence = sequence
        sessionTimeoutMs = Int64(request.sessionTimeoutMs)
        rebalanceTimeoutMs = Int64(max(request.rebalanceTimeoutMs, 0))
        protocols = Self.distinct(request.protocols)
        joinToken = token
    }

    /// A member that was one before.
    init(
        id: String, groupInstanceId: String?, clientId: String, clientHost: String, sessionTimeoutMs: Int64,
        rebalanceTimeoutMs: Int64, protocols: [GroupProtocol], sequence: UInt64
    ) {
        self.id = id
        self.groupInstanceId = groupInstanceId
        self.clientId = clientId
        self.clientHost = clientHost
        self.sequence = sequence
        self.sessionTimeoutMs = sessionTimeoutMs
        self.rebalanceTimeoutMs = rebalanceTimeoutMs
        self.protocols = protocols
        isNew = false
    }

    var isStatic: Bool { groupInstanceId != nil }

    /// Waiting for the group, it owes no heartbeat. A new member can vanish while it waits, so it does.
    var owesNoHeartbeat: Bool { !isNew && (joinToken != nil || syncToken != nil) }

    func metadata(of protocolName: String?) -> ByteBuffer {
        protocols.first { $0.name == protocolName }?.metadata ?? ByteBuffer()
    }

    func supports(_ protocolName: String) -> Bool {
        protocols.contains { $0.name == protocolName }
    }

    /// Kafka's client never names a protocol twice; counting one member's vote twice would break selection.
    static func distinct(_ protocols: [GroupProtocol]) -> [GroupProtocol] {
        var names = Set<String>(minimumCapacity: protocols.count)
        return protocols.filter { names.insert($0.name).inserted }
    }

    var retainedBytes: Int {
        var bytes = 256 + id.utf8.count + clientId.utf8.count + clientHost.utf8.count
        bytes += (groupInstanceId?.utf8.count ?? 0) + assignment.readableBytes
        for each in protocols { bytes += 64 + each.name.utf8.count + each.metadata.readableBytes }
        return bytes
    }
}
