// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: share sessions: which partitions a member fetches from, and the number of its next request (KIP-932).
//
// A value; owned by the share coordinator, under its lock. The session's id is the group and the member. Epoch 0 opens (and
// replaces), -1 closes, any other must be the one that is due.

import Bytes

package struct ShareSessionKey: Hashable, Sendable {
    package var groupId: String
    package var member: ShareMemberId

    package init(groupId: String, member: ShareMemberId) {
        self.groupId = groupId
        self.member = member
    }
}

package struct SharePlace: Hashable, Sendable {
    package var topicId: TopicId
    package var partition: Int32

    package init(topicId: TopicId, partition: Int32) {
        self.topicId = topicId
        self.partition = partition
    }
}

struct ShareSession: Sendable {
    /// What the next request must name.
    var nextEpoch: Int32 = 1
    /// In the order in which they were named.
    var places: [SharePlace] = []
    /// The connection it came over, to be told apart from one that replaced it.
    var connection: ObjectIdentifier
    /// Where the next fetch begins, so that every partition has its turn.
    var turn = 0

    mutating func advance() { nextEpoch = nextEpoch == .max ? 1 : nextEpoch + 1 }
}

struct ShareSessions: Sendable {
    private(set) var sessions: [ShareSessionKey: ShareSession] = [:]

    mutating func open(
        _ key: ShareSessionKey, _ places: [SharePlace], connection: ObjectIdentifier, sessionsMax: Int, placesMax: Int
    ) throws(ShareError) -> [SharePlace] {
        sessions[key] = nil
        guard sessions.count < sessionsMax else { throw .shareSessionLimitReached }
        var session = ShareSession(connection: connection)
        try session.add(places, max: placesMax)
        sessions[key] = session
        return session.places
    }

    /// The session's partitions after the request's changes, beginning with the one whose turn it is.
    mutating func update(
        _ key: ShareSessionKey, epoch: Int32, add: [SharePlace], forget: [SharePlace], placesMax: Int
    ) throws(ShareError) -> [SharePlace] {
        guard var session = sessions[key] else { throw .shareSessionNotFound }
        guard epoch == session.nextEpoch else { throw .invalidShareSessionEpoch }
        session.advance()
        try session.add(add, max: placesMax)
        if !forget.isEmpty {
            let gone = Set(forget)
            session.places.removeAll { gone.contains($0) }
        }
        session.turn &+= 1
        sessions[key] = session
        guard !session.places.isEmpty else { return [] }
        let start = session.turn % session.places.count
        return Array(session.places[start...] + session.places[..<start])
    }

    mutating func close(_ key: ShareSessionKey) throws(ShareError) -> [SharePlace] {
        guard let session = sessions.removeValue(forKey: key) else { throw .shareSessionNotFound }
        return session.places
    }

    /// The sessions that came over a connection that is gone.
    mutating func remove(connection: ObjectIdentifier) -> [(ShareSessionKey, [SharePlace])] {
        let gone = sessions.filter { $0.value.connection == connection }
        for key in gone.keys { sessions[key] = nil }
        return gone.map { ($0.key, $0.value.places) }
    }

    mutating func remove(_ key: ShareSessionKey) { sessions[key] = nil }
}

extension ShareSession {
    fileprivate mutating func add(_ added: [SharePlace], max: Int) throws(ShareError) {
        var known = Set(places)
        for place in added where known.insert(place).inserted { places.append(place) }
        guard places.count <= max else { throw .invalidRequest }
    }
}
