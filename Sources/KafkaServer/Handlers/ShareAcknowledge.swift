// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ShareAcknowledge (key 79).
//
// Versions: 1 and 2.
// Behaviour: says what became of acquired records; answered when that is durable. The request takes the next number of the member's
//   share session; the last one (epoch -1) gives back what the member still holds, and ends the session. All of a partition's batches are
//   applied, or none.
// Deviations from Kafka: none known.
// Notes: 2 renews locks (KIP-1222).

import Engine
import KafkaWire

enum ShareAcknowledgeHandler: KafkaHandler {
    static func handle(_ request: ShareAcknowledgeRequest, _ exchange: Exchange) {
        guard exchange.engine.features.level(of: .shares) >= 1 else {
            var refusal = ShareAcknowledgeResponse()
            refusal.errorCode = .unsupportedVersion
            return exchange.reply(refusal)
        }
        let count = request.topics.reduce(0) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        guard let key = ShareSessionKey(groupId: request.groupId, memberId: request.memberId) else {
            return refuse(.invalidRequest, exchange)
        }
        let shares = exchange.engine.shares
        let isLast = request.shareSessionEpoch == -1
        var held: [SharePlace] = []
        do throws(ShareError) {
            guard shares.contains(key.groupId) else { throw .groupIdNotFound }
            guard request.shareSessionEpoch != 0 else { throw .invalidShareSessionEpoch }
            if isLast {
                held = try shares.closeSession(key)
            } else {
                _ = try shares.session(
                    key, epoch: request.shareSessionEpoch, add: [], forget: [],
                    connection: ObjectIdentifier(exchange.connection), on: exchange.loop)
            }
        } catch {
            return refuse(error, exchange)
        }
        let wanted = request.topics.flatMap { topic in
            topic.partitions.map { partition in
                (
                    place: SharePlace(topicId: topic.topicId, partition: partition.partitionIndex),
                    batches: partition.acknowledgementBatches.map { WireAcknowledgement($0) }
                )
            }
        }
        let acknowledging = ShareAcknowledging(
            wanted, key, allowsRenewal: exchange.version >= 2 && request.isRenewAck, exchange)
        if isLast { shares.release(key, held, on: exchange.loop) }
        acknowledging.whenDone {
            var response = ShareAcknowledgeResponse()
            response.acquisitionLockTimeoutMs = Int32(clamping: shares.settings(of: key.groupId).rules.lockDurationMs)
            for (place, error) in acknowledging.results { response.add(place, error) }
            exchange.reply(response)
        }
    }

    private static func refuse(_ error: ShareError, _ exchange: Exchange) {
        var response = ShareAcknowledgeResponse()
        response.errorCode = KafkaErrorCode(error)
        response.errorMessage = error.description
        exchange.reply(response)
    }
}

extension ShareAcknowledgeResponse {
    fileprivate mutating func add(_ place: SharePlace, _ error: ShareError?) {
        var partition = Partition()
        partition.partitionIndex = place.partition
        partition.errorCode = KafkaErrorCode(error)
        partition.errorMessage = error?.description
        if let last = responses.last, last.topicId == place.topicId {
            responses[responses.count - 1].partitions.append(partition)
        } else {
            var topic = Topic()
            topic.topicId = place.topicId
            topic.partitions = [partition]
            responses.append(topic)
        }
    }
}
