// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: acknowledgements as ShareFetch and ShareAcknowledge carry them, and waiting for them to be durable.

import Bytes
import Engine
import KafkaWire
import NIOCore

/// One batch of a request, whichever request it came in.
struct WireAcknowledgement {
    var first: Int64
    var last: Int64
    var types: [Int8]

    init(_ batch: ShareFetchRequest.AcknowledgementBatch) {
        (first, last, types) = (batch.firstOffset, batch.lastOffset, batch.acknowledgeTypes)
    }

    init(_ batch: ShareAcknowledgeRequest.AcknowledgementBatch) {
        (first, last, types) = (batch.firstOffset, batch.lastOffset, batch.acknowledgeTypes)
    }

    /// One entry for each stretch of the same type; nil if the batch contradicts itself.
    func decoded(allowsRenewal: Bool) -> [ShareAcknowledgement]? {
        guard first >= 0, first <= last, last < .max, !types.isEmpty else { return nil }
        guard types.count == 1 || Int64(types.count) == last - first + 1 else { return nil }
        var decoded: [ShareAcknowledgement] = []
        for (index, type) in types.enumerated() {
            guard let outcome = Self.outcome(type, allowsRenewal) else { return nil }
            let offset = first + Int64(index)
            if let previous = decoded.last, previous.outcome == outcome {
                decoded[decoded.count - 1].last = offset
            } else {
                decoded.append(ShareAcknowledgement(first: offset, last: offset, outcome: outcome))
            }
        }
        if types.count == 1 { decoded[0].last = last }
        return decoded
    }

    private static func outcome(_ type: Int8, _ allowsRenewal: Bool) -> ShareAcknowledgement.Outcome? {
        switch type {
        case 0: .gap
        case 1: .accept
        case 2: .release(delayMs: 0)
        case 3: .reject(reason: "")
        case 4 where allowsRenewal: .renew(durationMs: nil)
        default: nil
        }
    }
}

/// The acknowledgements of one request on their way to the disk. Confined to the connection's loop.
final class ShareAcknowledging: @unchecked Sendable {
    // Unchecked: see above; completions of queues run on that loop.
    private(set) var results: [(place: SharePlace, error: ShareError?)] = []
    private var missing = 0
    private var isComplete = false
    private var onDone: (() -> Void)?

    /// Applies them now; their results are there when `whenDone` runs.
    init(
        _ wanted: [(place: SharePlace, batches: [WireAcknowledgement])], _ key: ShareSessionKey, allowsRenewal: Bool,
        _ exchange: Exchange
    ) {
        let shares = exchange.engine.shares
        for (index, entry) in wanted.enumerated() {
            results.append((entry.place, nil))
            var decoded: [ShareAcknowledgement]? = []
            for batch in entry.batches {
                guard let more = batch.decoded(allowsRenewal: allowsRenewal) else {
                    decoded = nil
                    break
                }
                decoded?.append(contentsOf: more)
            }
            guard let decoded else {
                results[index].error = .invalidRequest
                continue
            }
            guard let queue = shares.existingQueue(key.groupId, entry.place) else {
                results[index].error = Self.absence(of: entry.place, exchange)
                continue
            }
            missing += 1
            queue.acknowledge(decoded, key.member, on: exchange.loop) { self.finish(index, $0) }
        }
        isComplete = true
    }

    /// Runs `body` once all are durable or refused.
    func whenDone(_ body: @escaping () -> Void) {
        if missing == 0 { return body() }
        onDone = body
    }

    private func finish(_ index: Int, _ error: ShareError?) {
        results[index].error = error
        missing -= 1
        guard missing == 0, isComplete, let onDone else { return }
        self.onDone = nil
        onDone()
    }

    private static func absence(of place: SharePlace, _ exchange: Exchange) -> ShareError {
        guard let topic = exchange.engine.topics.topic(id: place.topicId) else { return .unknownTopicId }
        return topic.partition(place.partition) == nil ? .unknownTopicOrPartition : .invalidRecordState
    }
}

extension ShareSessionKey {
    /// Longest member id (KIP-932: a UUID in text).
    static let memberIdBytesMax = 36

    /// nil: INVALID_REQUEST.
    init?(groupId: String?, memberId: String?) {
        guard let groupId, let memberId, !memberId.isEmpty, memberId.utf8.count <= Self.memberIdBytesMax else { return nil }
        self.init(groupId: groupId, member: ShareMemberId(memberId))
    }
}
