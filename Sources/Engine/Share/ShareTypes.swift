// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the words in which share groups are spoken of: members, batches, acknowledgements, refusals.

/// Who holds records: a member id of a share group, or a worker's.
package struct ShareMemberId: Hashable, Sendable, CustomStringConvertible {
    package let text: String

    package init(_ text: String) { self.text = text }

    package var description: String { text }
}

/// A batch of the log as the machine sees it.
package struct ShareBatch: Equatable, Sendable {
    /// A record that is not to be delivered before a time.
    package struct Delayed: Equatable, Sendable {
        package var offset: Int64
        package var notBeforeMs: Int64

        package init(offset: Int64, notBeforeMs: Int64) {
            self.offset = offset
            self.notBeforeMs = notBeforeMs
        }
    }

    package var first: Int64
    package var last: Int64
    /// Of no use to a reader: the marker of a transaction, or records of one that was aborted.
    package var isHidden = false
    package var delayed: [Delayed] = []

    package init(first: Int64, last: Int64, isHidden: Bool = false, delayed: [Delayed] = []) {
        self.first = first
        self.last = last
        self.isHidden = isHidden
        self.delayed = delayed
    }
}

/// Why a record goes to the dead-letter topic (KIP-1191).
package enum DeadLetterCause: String, Sendable {
    case deliveryCountExceeded = "Offset delivery count exceeded the threshold."
    case rejected = "Offset rejected by client."
}

/// What became of the records from one offset to another, both included.
package struct ShareAcknowledgement: Equatable, Sendable {
    package enum Outcome: Equatable, Sendable {
        /// There is no such record.
        case gap
        case accept
        /// Deliver it again, not before `delayMs` from now.
        case release(delayMs: Int64)
        case reject(reason: String)
        /// The lock begins anew, for `durationMs` or, if nil, for as long as at first.
        case renew(durationMs: Int64?)

        var isRenewal: Bool { if case .renew = self { true } else { false } }

        func applied(
            to run: SharePartition.Run, nowMs: Int64, wallMs: Int64, rules: SharePartition.Rules,
            into letters: inout [SharePartition.DeadLetter]
        ) -> SharePartition.Run {
            switch self {
            case .gap: return run.ended(.archived)
            case .accept: return run.ended(.acknowledged)
            case .release(let delayMs):
                return run.released(notBeforeMs: delayMs > 0 ? wallMs + delayMs : 0, rules: rules, into: &letters)
            case .reject(let reason): return run.archived(.rejected, reason, rules: rules, into: &letters)
            case .renew(let durationMs):
                var run = run
                run.deadlineMs = nowMs + (durationMs ?? rules.lockDurationMs)
                return run
            }
        }
    }

    package var first: Int64
    package var last: Int64
    package var outcome: Outcome

    package init(first: Int64, last: Int64, outcome: Outcome) {
        self.first = first
        self.last = last
        self.outcome = outcome
    }
}

/// Why a share group refuses; each edge maps every case in one file.
package enum ShareError: String, Error, Hashable, Sendable, CaseIterable {
    case invalidRequest
    /// The record is not acquired, or by somebody else.
    case invalidRecordState
    case groupIdNotFound
    case invalidGroupId
    case unknownMemberId
    case fencedMemberEpoch
    case groupMaxSizeReached
    case nonEmptyGroup
    case shareSessionNotFound
    case invalidShareSessionEpoch
    case shareSessionLimitReached
    case unknownTopicOrPartition
    case unknownTopicId
    /// The state could not be made durable; it is not known whether it will be.
    case storageFailure
    case coordinatorNotAvailable
}

extension ShareError: CustomStringConvertible {
    /// The cause and the next step, for a person.
    package var description: String {
        switch self {
        case .invalidRequest: "the request contradicts itself or names records that were never delivered"
        case .invalidRecordState: "a record is not held by this member: its lock has ended, or somebody else has it"
        case .groupIdNotFound: "there is no such share group, or the group id belongs to a group of another type"
        case .invalidGroupId: "the group id is empty or too long"
        case .unknownMemberId: "the group does not know this member; join again"
        case .fencedMemberEpoch: "the member epoch is not the current one; join again"
        case .groupMaxSizeReached: "the group cannot take another member; stop one, or raise group.share.max.size"
        case .nonEmptyGroup: "the group has members; stop them first"
        case .shareSessionNotFound: "there is no such share session; open a new one"
        case .invalidShareSessionEpoch: "the epoch is not the share session's next one; open a new session"
        case .shareSessionLimitReached: "there are as many share sessions as group.share.max.share.sessions allows"
        case .unknownTopicOrPartition: "the topic or partition does not exist"
        case .unknownTopicId: "there is no topic of this id"
        case .storageFailure: "the state of the share group could not be written; see the broker's log"
        case .coordinatorNotAvailable: "the broker is shutting down; connect again"
        }
    }
}

/// Ascending ranges of offsets that do not touch.
struct OffsetRanges: Equatable, Sendable {
    private(set) var ranges: [ClosedRange<Int64>] = []

    var isEmpty: Bool { ranges.isEmpty }

    mutating func insert(_ range: ClosedRange<Int64>) {
        // Most come in order, at the end.
        if let last = ranges.last, range.lowerBound > last.upperBound + 1 { return ranges.append(range) }
        var joined = range
        ranges.removeAll { old in
            guard old.upperBound >= joined.lowerBound - 1, old.lowerBound <= joined.upperBound + 1 else { return false }
            joined = min(old.lowerBound, joined.lowerBound)...max(old.upperBound, joined.upperBound)
            return true
        }
        let at = ranges.firstIndex { $0.lowerBound > joined.upperBound } ?? ranges.count
        ranges.insert(joined, at: at)
    }

    mutating func removeBelow(_ offset: Int64) {
        ranges = ranges.compactMap { range in
            range.upperBound < offset ? nil : max(range.lowerBound, offset)...range.upperBound
        }
    }
}
