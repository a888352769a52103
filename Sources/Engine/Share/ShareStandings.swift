// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: which members of a share partition are passed over, because they let locks end without a word.
//
//   heard of --a lock of its ends--> passed over --the time is over--> on trial --a lock of its ends--> passed over, for longer
//      ^                                 |                                |
//      \---------------------- it says something of a record -------------/
//
// A member that holds records and says nothing would get them again at the moment its locks end, and again, until they are dead letters,
// while others wait for work. So such a member is passed over for as long as its lock was (ten seconds at least), and twice as long the next
// time, up to sixteen times; then it is given one record. What it says of any record, also of one that it has lost, ends that at once.
// Only for a member that is heard of is another one passed over: a silent member that is alone, or among its like, is served as ever.
// A value of its share partition's; time is monotonic and handed in.

struct ShareStandings: Sendable {
    private struct Member {
        /// How long its last lock was.
        var lockMs: Int64 = 0
        /// How often it was found silent in a row.
        var silences = 0
        var passedOverUntilMs = Int64.min
    }

    enum Standing: Equatable {
        case good
        case passedOver
        /// It is given one record, to see what becomes of it.
        case onTrial
    }

    /// The longest time is the first one, so many times doubled.
    private static let doublingsMax = 4
    /// With short locks there has to be time for somebody else to come to the records.
    private static let passedOverMsMin: Int64 = 10_000

    /// Who came for records and did not leave.
    private var members: [ShareMemberId: Member] = [:]
    /// Somebody who was passed over may be served since somebody last asked.
    private var hasRestored = false

    var count: Int { members.count }

    /// A member comes for records.
    mutating func came(_ member: ShareMemberId, nowMs: Int64) -> Standing {
        guard let known = members[member] else {
            add(member)
            return .good
        }
        guard known.silences > 0, members.values.contains(where: { $0.silences == 0 }) else { return .good }
        return nowMs < known.passedOverUntilMs ? .passedOver : .onTrial
    }

    mutating func locked(by member: ShareMemberId, lockMs: Int64) {
        members[member]?.lockMs = lockMs
    }

    /// A lock of the member's has ended. Those that end while it is passed over are of the same silence.
    mutating func lockEnded(of member: ShareMemberId, nowMs: Int64) {
        guard var known = members[member], nowMs >= known.passedOverUntilMs else { return }
        let firstMs = max(known.lockMs, Self.passedOverMsMin)
        known.passedOverUntilMs = nowMs + (firstMs << min(known.silences, Self.doublingsMax))
        known.silences += 1
        members[member] = known
    }

    func isSilent(_ member: ShareMemberId) -> Bool { members[member].map { $0.silences > 0 } ?? false }

    /// The member said something.
    mutating func heard(from member: ShareMemberId) {
        guard let known = members[member], known.silences > 0 else { return }
        members[member] = Member(lockMs: known.lockMs)
        hasRestored = true
    }

    mutating func left(_ member: ShareMemberId) {
        guard let known = members.removeValue(forKey: member) else { return }
        // For its sake others may have been passed over.
        if known.silences == 0, members.values.contains(where: { $0.silences > 0 }) { hasRestored = true }
    }

    mutating func takeRestored() -> Bool {
        defer { hasRestored = false }
        return hasRestored
    }

    private mutating func add(_ member: ShareMemberId) {
        if members.count >= Limits.membersPerSharePartition {
            let forgotten = members.first { $0.value.silences == 0 } ?? members.first
            if let forgotten { members[forgotten.key] = nil }
        }
        members[member] = Member()
    }
}
