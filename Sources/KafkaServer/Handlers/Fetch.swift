// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: Fetch (key 1).
//
// Versions: 4 to 17.
// Behaviour: each partition is read once; with enough bytes, an error, or no wait the reply goes at once. Otherwise
//   one waiter is registered on the partitions, and when it completes the same plan runs again and is answered
//   whatever it finds. Records leave as stretches of the log files, always whole batches. A fetch offset inside
//   a batch gets that batch; clients skip its head. A client that is over its quota gets an empty response.
// Deviations from Kafka: fetch sessions (KIP-227) are declined the way a broker with a full session cache declines
//   them, with session id 0, so every fetch is a full one. A batch larger than the limits is sent when it is first.
// Notes: 12 is flexible, 13 names topics by id (KIP-516), 15 moves the replica state to a tag, 16 adds node
//   endpoints; replica fetches (replicaId >= 0) get what consumers get.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Storage

enum FetchHandler: KafkaHandler {
    static func handle(_ request: FetchRequest, _ exchange: Exchange) {
        // Epoch 0 asks for a new session, -1 for none; anything else continues one, and there is none.
        guard request.sessionEpoch <= 0 else {
            var response = FetchResponse()
            response.errorCode = .fetchSessionIdNotFound
            return exchange.reply(response)
        }
        let count = request.topics.reduce(0) { $0 + $1.partitions.count }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        run(request, exchange, mayWait: request.maxWaitMs > 0)
    }

    private static func run(_ request: FetchRequest, _ exchange: Exchange, mayWait: Bool) {
        let budget = min(Int(request.maxBytes), Limits.fetchBytes, exchange.answerBytesMax)
        let minBytes = min(Int(request.minBytes), budget)
        var plan = Plan(budget: budget, request, exchange)
        plan.read()
        guard mayWait, !plan.hasError, !plan.seen.isEmpty, plan.bytes < minBytes else {
            let (exchange, isHeld) = exchange.charging(records: plan.bytes)
            // The client comes again when it may (KIP-219).
            if isHeld { return exchange.reply(FetchResponse()) }
            // How many records these are is not known without reading them.
            for (partition, bytes) in plan.sent { partition.delivered(records: 0, bytes: bytes) }
            return exchange.reply(plan.response, slices: plan.slices)
        }
        let waiter = Waiter(loop: exchange.loop, bytesNeeded: minBytes - plan.bytes) {
            exchange.connection.forgetWaiter(for: exchange.slot)
            run(request, exchange, mayWait: false)
        }
        exchange.connection.keep(waiter, for: exchange.slot)
        waiter.arm(on: plan.seenOnce, deadline: .milliseconds(Int64(request.maxWaitMs)))
    }

    /// One pass over the requested partitions.
    private struct Plan {
        private(set) var response = FetchResponse()
        private(set) var slices: [ReplySegment] = []
        private(set) var seen: [(partition: Partition, seenEnd: Int64)] = []
        private(set) var sent: [(partition: Partition, bytes: Int)] = []
        private(set) var bytes = 0
        private(set) var hasError = false
        /// `seen` without repetitions: a partition is waited for once, however often it is named.
        var seenOnce: [(partition: Partition, seenEnd: Int64)] {
            var known: Set<ObjectIdentifier> = []
            return seen.filter { known.insert(ObjectIdentifier($0.partition)).inserted }
        }

        private let budget: Int
        private let request: FetchRequest
        private let exchange: Exchange

        init(budget: Int, _ request: FetchRequest, _ exchange: Exchange) {
            self.budget = budget
            self.request = request
            self.exchange = exchange
        }

        mutating func read() {
            response.topics.reserveCapacity(request.topics.count)
            for wanted in request.topics {
                let topic = resolve(wanted)
                var answer = FetchResponse.Topic()
                answer.topic = wanted.topic
                answer.topicId = wanted.topicId
                answer.partitions.reserveCapacity(wanted.partitions.count)
                for partition in wanted.partitions {
                    answer.partitions.append(read(partition, of: topic))
                }
                response.topics.append(answer)
            }
        }

        private func resolve(_ wanted: FetchRequest.Topic) -> Topic? {
            exchange.version >= 13
                ? exchange.engine.topics.topic(id: wanted.topicId)
                : exchange.engine.topics.topic(named: wanted.topic)
        }

        private mutating func read(
            _ wanted: FetchRequest.Partition, of topic: Topic?
        ) -> FetchResponse.Partition {
            var answer = FetchResponse.Partition()
            answer.partitionIndex = wanted.partition
            answer.records = .bytes(ByteBuffer())
            if request.isolationLevel == 1 { answer.abortedTransactions = [] }
            guard let topic, let partition = topic.partition(wanted.partition) else {
                let isById = exchange.version >= 13 && topic == nil
                return fail(&answer, isById ? .unknownTopicId : .unknownTopicOrPartition)
            }
            // The only leader epoch there has ever been is 0.
            guard wanted.currentLeaderEpoch <= 0 else { return fail(&answer, .unknownLeaderEpoch) }
            let limit = min(Int(wanted.partitionMaxBytes), budget - bytes)
            do {
                let (slice, offsets) = try read(partition, wanted, maxBytes: max(0, limit), &answer)
                answer.highWatermark = offsets.highWatermark
                answer.logStartOffset = offsets.start
                seen.append((partition, offsets.highWatermark))
                if let slice, slice.length <= limit || bytes == 0 {
                    bytes += slice.length
                    sent.append((partition, slice.length))
                    answer.records = .external(length: slice.length)
                    slices.append(.slice(slice))
                }
                return answer
            } catch {
                answer.highWatermark = -1
                return fail(&answer, KafkaErrorCode(error))
            }
        }

        /// Reads up to the high watermark or, of committed records, up to the last stable offset.
        private func read(
            _ partition: Partition, _ wanted: FetchRequest.Partition, maxBytes: Int,
            _ answer: inout FetchResponse.Partition
        ) throws(EngineError) -> (slice: LogSlice?, offsets: PartitionOffsets) {
            guard request.isolationLevel == IsolationLevel.readCommitted.rawValue else {
                let read = try partition.read(from: wanted.fetchOffset, maxBytes: maxBytes)
                answer.lastStableOffset = read.offsets.highWatermark
                return read
            }
            let read = try partition.readCommitted(from: wanted.fetchOffset, maxBytes: maxBytes)
            answer.lastStableOffset = read.lastStableOffset
            answer.abortedTransactions = read.aborted.map { aborted in
                var transaction = FetchResponse.AbortedTransaction()
                transaction.producerId = aborted.producerId
                transaction.firstOffset = aborted.firstOffset
                return transaction
            }
            return (read.slice, read.offsets)
        }

        private mutating func fail(
            _ answer: inout FetchResponse.Partition, _ code: KafkaErrorCode
        ) -> FetchResponse.Partition {
            hasError = true
            answer.errorCode = code
            return answer
        }
    }
}
