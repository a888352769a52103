// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ShareFetch (key 78).
//
// Versions: 1 and 2.
// Behaviour: first the acknowledgements that come along, then records for the partitions of the member's share session, each
//   beginning where another one did last time. With nothing to deliver it waits, up to the client's time, for new records and for
//   records that are given back. Answered when both are done. The last request of a session (epoch -1) fetches nothing, gives back what the
//   member still holds, and ends the session, which also ends with its connection.
// Deviations from Kafka: min.bytes is one record. Records are sent from memory, since they are looked into for delays.
// Notes: 2 can limit records strictly (KIP-1206) and renews locks (KIP-1222), without fetching then.

import Engine
import KafkaWire
import NIOCore

enum ShareFetchHandler: KafkaHandler {
    static func handle(_ request: ShareFetchRequest, _ exchange: Exchange) {
        guard exchange.engine.features.level(of: .shares) >= 1 else {
            var refusal = ShareFetchResponse()
            refusal.errorCode = .unsupportedVersion
            return exchange.reply(refusal)
        }
        let count = request.topics.reduce(0) { $0 + $1.partitions.count }
            + request.forgottenTopicsData.reduce(0) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        guard let key = ShareSessionKey(groupId: request.groupId, memberId: request.memberId) else {
            return refuse(.invalidRequest, exchange)
        }
        let wanted = request.acknowledgements.filter { exchange.mayRead($0.place.topicId) }
        let isRenewal = exchange.version >= 2 && request.isRenewAck
        let isLast = request.shareSessionEpoch == -1
        let shares = exchange.engine.shares
        var places: [SharePlace] = []
        do throws(ShareError) {
            guard request.shareSessionEpoch != 0 || request.acknowledgements.isEmpty else { throw .invalidRequest }
            if isLast {
                places = try shares.closeSession(key)
            } else {
                places = try shares.session(
                    key, epoch: request.shareSessionEpoch, add: request.places, forget: request.forgotten,
                    connection: ObjectIdentifier(exchange.connection), on: exchange.loop)
                exchange.connection.hasShareSessions = true
            }
        } catch {
            return refuse(error, exchange)
        }
        let acknowledging = ShareAcknowledging(wanted, key, allowsRenewal: isRenewal, exchange)
        if isLast {
            shares.release(key, places, on: exchange.loop)
            places = []
        }
        let denied = places.filter { !exchange.mayRead($0.topicId) }
        places.removeAll(where: denied.contains)
        let fetch = ShareFetching(request, key, acknowledging, denied: denied, exchange)
        if isLast || isRenewal || places.isEmpty { return fetch.finish() }
        shares.openQueues(key.groupId, places, on: exchange.loop) { fetch.run($0, mayWait: request.maxWaitMs > 0) }
    }

    private static func refuse(_ error: ShareError, _ exchange: Exchange) {
        var response = ShareFetchResponse()
        response.errorCode = KafkaErrorCode(error)
        response.errorMessage = error.description
        exchange.reply(response)
    }
}

/// One fetch on its way. Confined to the connection's loop.
private final class ShareFetching: @unchecked Sendable {
    // Unchecked: see above; completions and the waiter run on that loop.
    /// Records to acquire if the client does not say.
    private static let defaultRecords = 500
    /// Bytes read from one partition at once, unless one batch is larger.
    private static let readBytes = 1 << 20

    private let request: ShareFetchRequest
    private let key: ShareSessionKey
    private let acknowledging: ShareAcknowledging
    /// Partitions of the session that the client may not read now.
    private let denied: [SharePlace]
    private let exchange: Exchange
    private var partitions: [(place: SharePlace, answer: ShareFetchResponse.Partition)] = []

    init(
        _ request: ShareFetchRequest, _ key: ShareSessionKey, _ acknowledging: ShareAcknowledging, denied: [SharePlace],
        _ exchange: Exchange
    ) {
        self.request = request
        self.key = key
        self.acknowledging = acknowledging
        self.denied = denied
        self.exchange = exchange
    }

    func run(_ opened: [ShareCoordinator.OpenedQueue], mayWait: Bool) {
        partitions = []
        var recordsLeft = request.maxRecords > 0 ? Int(request.maxRecords) : Self.defaultRecords
        var bytesLeft = max(0, min(Int(request.maxBytes), Limits.fetchBytes, exchange.answerBytesMax))
        var hasError = false
        var idle: [(queue: ShareQueue, seenEnd: Int64, wake: UInt64)] = []
        for (place, result) in opened {
            var answer = ShareFetchResponse.Partition()
            answer.partitionIndex = place.partition
            answer.records = .bytes(ByteBuffer())
            switch result {
            case .failure(let error):
                hasError = true
                answer.errorCode = KafkaErrorCode(error)
                answer.errorMessage = error.description
                partitions.append((place, answer))
            case .success(let queue):
                guard recordsLeft > 0, bytesLeft > 0 else { continue }
                do throws(EngineError) {
                    let limits = ShareFetchLimits(
                        maxRecords: recordsLeft, maxBytes: min(bytesLeft, Self.readBytes),
                        isStrict: request.shareAcquireMode == 1)
                    switch try queue.fetch(key.member, limits, on: exchange.loop) {
                    case .nothing(let seenEnd, let wake): idle.append((queue, seenEnd, wake))
                    case .acquired(let bytes, let runs):
                        bytesLeft -= bytes.readableBytes
                        recordsLeft -= runs.reduce(0) { $0 + Int($1.count) }
                        answer.records = .bytes(bytes)
                        answer.acquiredRecords = ranges(runs)
                        queue.partition.delivered(records: 0, bytes: bytes.readableBytes)
                        partitions.append((place, answer))
                    }
                } catch {
                    hasError = true
                    answer.errorCode = KafkaErrorCode(error)
                    answer.errorMessage = error.message
                    partitions.append((place, answer))
                }
            }
        }
        guard mayWait, !hasError, partitions.isEmpty, !idle.isEmpty else { return finish() }
        wait(idle, opened)
    }

    private func wait(
        _ idle: [(queue: ShareQueue, seenEnd: Int64, wake: UInt64)], _ opened: [ShareCoordinator.OpenedQueue]
    ) {
        let waiter = Waiter(loop: exchange.loop, bytesNeeded: 1) {
            self.exchange.connection.forgetWaiter(for: self.exchange.slot)
            self.run(opened, mayWait: false)
        }
        exchange.connection.keep(waiter, for: exchange.slot)
        waiter.arm(
            on: idle.map { ($0.queue.partition, $0.seenEnd) }, deadline: .milliseconds(Int64(request.maxWaitMs)))
        for entry in idle { entry.queue.register(waiter, seen: entry.wake) }
    }

    /// Answers, once the acknowledgements are durable.
    func finish() {
        acknowledging.whenDone { self.reply() }
    }

    private func reply() {
        var response = ShareFetchResponse()
        response.acquisitionLockTimeoutMs = Int32(
            clamping: exchange.engine.shares.settings(of: key.groupId).rules.lockDurationMs)
        var answers = partitions
        for (place, error) in acknowledging.results {
            if let at = answers.firstIndex(where: { $0.place == place }) {
                answers[at].answer.set(error)
            } else {
                var answer = ShareFetchResponse.Partition()
                answer.partitionIndex = place.partition
                answer.records = .bytes(ByteBuffer())
                answer.set(error)
                answers.append((place, answer))
            }
        }
        refuse(&answers)
        // What is new to the session is in its first answer, whatever there is to say.
        let known = Set(answers.map(\.place))
        for place in request.places where !known.contains(place) {
            var answer = ShareFetchResponse.Partition()
            answer.partitionIndex = place.partition
            answer.records = .bytes(ByteBuffer())
            answers.append((place, answer))
        }
        for (place, answer) in answers {
            if let at = response.responses.firstIndex(where: { $0.topicId == place.topicId }) {
                response.responses[at].partitions.append(answer)
            } else {
                var topic = ShareFetchResponse.Topic()
                topic.topicId = place.topicId
                topic.partitions = [answer]
                response.responses.append(topic)
            }
        }
        let bytes = exchange.engine.quotas.isInForce ? partitions.reduce(0) { $0 + $1.answer.records.length } : 0
        exchange.charged(records: bytes).reply(response)
    }

    /// What may not be read is told with each answer, and what was said of its records is not done.
    private func refuse(_ answers: inout [(place: SharePlace, answer: ShareFetchResponse.Partition)]) {
        let unheard = request.acknowledgements.map(\.place).filter { !exchange.mayRead($0.topicId) }
        for place in denied + unheard.filter({ !denied.contains($0) }) {
            var answer = ShareFetchResponse.Partition()
            answer.partitionIndex = place.partition
            answer.records = .bytes(ByteBuffer())
            if denied.contains(place) { answer.errorCode = .topicAuthorizationFailed }
            if unheard.contains(place) { answer.acknowledgeErrorCode = .topicAuthorizationFailed }
            answers.append((place, answer))
        }
    }

    /// In pieces of the size the client asks for.
    private func ranges(_ runs: [SharePartition.Run]) -> [ShareFetchResponse.AcquiredRange] {
        var ranges: [ShareFetchResponse.AcquiredRange] = []
        for run in runs {
            if let last = ranges.last, last.lastOffset + 1 == run.first, last.deliveryCount == run.deliveryCount {
                ranges[ranges.count - 1].lastOffset = run.last
                continue
            }
            var range = ShareFetchResponse.AcquiredRange()
            (range.firstOffset, range.lastOffset, range.deliveryCount) = (run.first, run.last, run.deliveryCount)
            ranges.append(range)
        }
        guard request.batchSize > 0 else { return ranges }
        return ranges.flatMap { range in
            stride(from: range.firstOffset, through: range.lastOffset, by: Int(request.batchSize)).map { first in
                var piece = range
                piece.firstOffset = first
                piece.lastOffset = min(range.lastOffset, first + Int64(request.batchSize) - 1)
                return piece
            }
        }
    }
}

extension ShareFetchResponse.Partition {
    fileprivate mutating func set(_ error: ShareError?) {
        acknowledgeErrorCode = KafkaErrorCode(error)
        acknowledgeErrorMessage = error?.description
    }
}

extension ShareFetchRequest {
    fileprivate var places: [SharePlace] {
        topics.flatMap { topic in
            topic.partitions.map { SharePlace(topicId: topic.topicId, partition: $0.partitionIndex) }
        }
    }

    fileprivate var forgotten: [SharePlace] {
        forgottenTopicsData.flatMap { topic in
            topic.partitions.map { SharePlace(topicId: topic.topicId, partition: $0) }
        }
    }

    fileprivate var acknowledgements: [(place: SharePlace, batches: [WireAcknowledgement])] {
        topics.flatMap { topic in
            topic.partitions.filter { !$0.acknowledgementBatches.isEmpty }.map { partition in
                (
                    SharePlace(topicId: topic.topicId, partition: partition.partitionIndex),
                    partition.acknowledgementBatches.map { WireAcknowledgement($0) }
                )
            }
        }
    }
}
