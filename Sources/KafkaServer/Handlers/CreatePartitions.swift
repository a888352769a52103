// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: CreatePartitions (key 37).
//
// Versions: 0 to 3.
// Behaviour: each topic grows on its own, to the total given; the reply goes when all is durable. validateOnly checks
//   and changes nothing. A topic that is named twice is refused once. Manual assignments are accepted when they name this broker only.
// Deviations from Kafka: none known.

import Engine
import KafkaWire
import NIOCore

enum CreatePartitionsHandler: KafkaHandler {
    typealias Outcome = CreatePartitionsResponse.Result

    static func handle(_ request: CreatePartitionsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.topics.count, "topics", limit: Limits.resourcesPerRequest) else { return }
        let times = Dictionary(request.topics.map { ($0.name, 1) }, uniquingKeysWith: +)
        let quota = MutationQuota(exchange, isStrict: exchange.version >= 3)
        let changes = request.topics.filter { times[$0.name] == 1 }
            .map { grow($0, validateOnly: request.validateOnly, quota, exchange) }
        let repeated = times.filter { $0.value > 1 }.keys.sorted().map { name in
            var outcome = Outcome()
            outcome.name = name
            return refused(outcome, .invalidRequest, "topic \(name) is named more than once")
        }
        EventLoopFuture.whenAllSucceed(changes, on: exchange.loop).whenSuccess { outcomes in
            var response = CreatePartitionsResponse()
            response.results = repeated + outcomes
            quota.exchange.reply(response)
        }
    }

    private static func grow(
        _ wanted: CreatePartitionsRequest.Topic, validateOnly: Bool, _ quota: MutationQuota, _ exchange: Exchange
    ) -> EventLoopFuture<Outcome> {
        var ready = Outcome()
        ready.name = wanted.name
        let success = ready
        func refuse(_ code: KafkaErrorCode, _ message: String) -> EventLoopFuture<Outcome> {
            exchange.loop.makeSucceededFuture(refused(success, code, message))
        }
        guard let topic = exchange.engine.topics.topic(named: wanted.name), !topic.isInternal else {
            return refuse(.unknownTopicOrPartition, "this broker has no topic \(wanted.name) that can grow")
        }
        guard wanted.count > Int32(topic.partitionCount) else {
            return refuse(
                .invalidPartitions, "topic \(wanted.name) has \(topic.partitionCount) partitions already")
        }
        if let assignments = wanted.assignments, !assignments.isEmpty {
            let node = exchange.engine.configuration.nodeId
            guard assignments.count == Int(wanted.count) - topic.partitionCount,
                assignments.allSatisfy({ $0.brokerIds == [node] })
            else {
                return refuse(
                    .invalidReplicaAssignment, "give each new partition broker \(node) alone, or no assignment")
            }
        }
        guard !validateOnly else { return exchange.loop.makeSucceededFuture(success) }
        // More than a topic may have is refused, and not charged.
        let added = Int(wanted.count) > TopicCatalog.partitionsPerTopicMax ? 0 : Int(wanted.count) - topic.partitionCount
        guard quota.admits(added) else {
            return refuse(.throttlingQuotaExceeded, MutationQuota.refusal)
        }
        return exchange.engine.topics.grow(wanted.name, to: wanted.count, on: exchange.loop)
            .map { success }
            .flatMapErrorThrowing { refused(success, KafkaErrorCode($0), "\($0)") }
    }

    private static func refused(_ outcome: Outcome, _ code: KafkaErrorCode, _ message: String) -> Outcome {
        var outcome = outcome
        outcome.errorCode = code
        outcome.errorMessage = message
        return outcome
    }
}
