// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: Streams.Publish.
//
// Behaviour: the request becomes one record batch for each partition, without objects in between; each is appended like
// a Kafka producer's with acks=all, and the answer goes when all are durable. A topic that is missing is created
// where the broker may. Partitions are chosen as Kafka's producers choose them.

import Engine
import GRPCWire
import NIOCore

extension StreamsService {
    func publish(_ bytes: ByteBuffer, _ call: GRPCCall) {
        do throws(GRPCStatus) {
            let request = try PublishRequestReader(bytes)
            if let topic = engine.topics.topic(named: request.topic) {
                try append(request, to: topic, call)
            } else {
                try createTopic(for: request, call)
            }
        } catch {
            call.fail(error)
        }
    }

    private func createTopic(for request: PublishRequestReader, _ call: GRPCCall) throws(GRPCStatus) {
        guard engine.configuration.autoCreateTopics else {
            throw GRPCStatus(.notFound, "topic \(request.topic) does not exist and is not created automatically")
        }
        let specification = TopicSpecification(name: request.topic)
        engine.topics.topicOrCreate(specification, on: call.loop).whenComplete { result in
            do throws(GRPCStatus) {
                switch result {
                case .success(let topic): try append(request, to: topic, call)
                case .failure(let error): throw GRPCStatus(error)
                }
            } catch {
                call.fail(error)
            }
        }
    }

    private func append(_ request: PublishRequestReader, to topic: Topic, _ call: GRPCCall) throws(GRPCStatus) {
        guard !topic.isInternal else {
            throw GRPCStatus(.invalidArgument, "topic \(topic.name) belongs to the broker")
        }
        let count = topic.partitionCount
        let batches = try request.batches(
            partitionCount: count, unkeyed: call.connection.nextUnkeyedPartition(of: count),
            nowMs: engine.clock.nowMs())
        let publication = Publication(call, batches: batches.count)
        for (index, batch) in batches.enumerated() {
            guard let partition = topic.partition(batch.partition) else {
                throw GRPCStatus(
                    .notFound, "topic \(topic.name) has no partition \(batch.partition), only 0 to \(count - 1)")
            }
            partition.append(batch.records, acks: .all, turn: call.connection.turn) { result in
                publication.finish(index, batch, result)
            }
        }
    }
}

/// Waits for the batches of one request. Confined to the connection's loop, where append completions run.
private final class Publication: @unchecked Sendable {
    // Unchecked: see above.
    private let call: GRPCCall
    private var published: [PublishedBatch?]
    private var missing: Int

    init(_ call: GRPCCall, batches: Int) {
        self.call = call
        published = Array(repeating: nil, count: batches)
        missing = batches
    }

    func finish(_ index: Int, _ batch: PublishBatch, _ result: Result<AppendResult, EngineError>) {
        switch result {
        case .success(let appended):
            published[index] = PublishedBatch(
                partition: batch.partition, baseOffset: appended.baseOffset, positions: batch.positions,
                logAppendTimeMs: appended.logAppendTimeMs)
        case .failure(let error):
            call.fail(GRPCStatus(error))
        }
        missing -= 1
        guard missing == 0 else { return }
        call.respond { PublishResponseWriter.write(published.compactMap { $0 }, into: &$0) }
    }
}
