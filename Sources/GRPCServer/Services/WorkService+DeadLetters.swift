// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: Work.DescribeDeadLetters, and what a dead-letter topic is.
//
// Behaviour: of each partition, which offsets `Redrive` is done with, as the broker's own share group remembers them. Letters
//   that retention has removed are among those; records that were passed over (markers, gaps) as well.

import Contract
import Engine
import GRPCWire
import SwiftProtobuf

extension WorkService {
    /// Names that say at once what is wrong with them.
    func check(deadLetterTopic name: String) throws(GRPCStatus) {
        let prefix = engine.shares.configuration.deadLetterTopicPrefix
        guard !name.isEmpty else {
            throw .invalid("dead_letter_topic", "dead_letter_topic is empty: name a topic that begins with \(prefix)")
        }
        guard name.hasPrefix(prefix) else {
            throw .invalid("dead_letter_topic", "\(name) is no dead-letter topic: those begin with \(prefix)").about("topic", name)
        }
    }

    func deadLetters(_ name: String) throws(GRPCStatus) -> Topic {
        guard let topic = engine.topics.topic(named: name) else { throw GRPCStatus.unknown(topic: name) }
        return topic
    }

    func describeDeadLetters(_ request: Martlet_V1_DescribeDeadLettersRequest, _ call: GRPCCall) {
        call.authorize { () throws(GRPCStatus) in
            try check(deadLetterTopic: request.deadLetterTopic)
            try call.require(.read, .topic, request.deadLetterTopic)
        } then: { () throws(GRPCStatus) in
            call.respond(description(of: try deadLetters(request.deadLetterTopic)))
        }
    }

    private func description(of topic: Topic) -> Martlet_V1_DescribeDeadLettersResponse {
        var response = Martlet_V1_DescribeDeadLettersResponse()
        var left = Limits.redrivenRanges
        for partition in topic.partitions {
            var answer = Martlet_V1_DeadLetterPartition()
            answer.partition = partition.index
            let (start, end) = (partition.offsets.start, partition.offsets.highWatermark)
            answer.endOffset = end
            let place = SharePlace(topicId: topic.id, partition: partition.index)
            let done = engine.shares.existingQueue(ShareCoordinator.redriveGroup, place)?.snapshot.done(from: start) ?? []
            for range in done.prefix(left) {
                answer.redriven.append(.with { ($0.firstOffset, $0.lastOffset) = (range.lowerBound, range.upperBound) })
            }
            if done.count > left { response.isIncomplete = true }
            left -= answer.redriven.count
            answer.remaining = end - start - done.reduce(0) { $0 + Int64($1.count) }
            response.partitions.append(answer)
        }
        return response
    }
}
