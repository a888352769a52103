// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: Streams.Publish.
//
// Behaviour: the records go without objects in between into one record batch for each partition, which they share with the
// other calls of the event loop's turn (PublishGatherer); it is appended like a Kafka producer's with acks=all, and the
// answer goes when all are durable. A topic that is missing is created where the broker may. Partitions are chosen as
// Kafka's producers choose them.

import Engine
import GRPCWire
import NIOCore

extension StreamsService {
    func publish(_ bytes: ByteBuffer, _ call: GRPCCall) {
        do throws(GRPCStatus) {
            let request = try PublishRequestReader(bytes)
            guard let name = request.topicBytes else { preconditionFailure("the reader has seen a topic") }
            // The usual case does without closures, and without a copy of the request for each.
            guard call.mayHaveToWait else {
                try call.require(.write, .topic, request.topic)
                return publish(request, to: name, call)
            }
            call.authorize(holding: bytes.readableBytes) { () throws(GRPCStatus) in
                try call.require(.write, .topic, request.topic)
            } then: { () throws(GRPCStatus) in
                try call.whenMayPublish(bytes.readableBytes) { publish(request, to: name, call) }
            }
        } catch {
            call.fail(error)
        }
    }

    private func publish(_ request: PublishRequestReader, to name: ByteBuffer, _ call: GRPCCall) {
        do throws(GRPCStatus) {
            if let topic = call.connection.gatherer.find(name) {
                try append(request, to: topic, call)
            } else {
                try createTopic(for: request, call)
            }
        } catch {
            call.fail(error.about("topic", request.topic))
        }
    }

    private func createTopic(for request: PublishRequestReader, _ call: GRPCCall) throws(GRPCStatus) {
        let name = request.topic
        guard !Engine.isOwnTopic(name) else { throw .internalTopic(name, field: "topic") }
        guard engine.configuration.autoCreateTopics else {
            throw GRPCStatus.unknown(
                topic: name, "topic \(name) does not exist and is not created automatically; create it first")
        }
        call.authorize({ () throws(GRPCStatus) in try call.requireCreation(of: name) }) {
            engine.topics.topicOrCreate(TopicSpecification(name: name), on: call.loop).whenComplete { result in
                created(result, for: request, call)
            }
        }
    }

    private func created(_ result: Result<Topic, any Error>, for request: PublishRequestReader, _ call: GRPCCall) {
        do throws(GRPCStatus) {
            if case .failure(let error) = result {
                throw GRPCStatus(creating: error, topic: request.topic, nameField: "topic")
            }
            guard let topic = call.connection.gatherer.find(ByteBuffer(string: request.topic)) else {
                throw GRPCStatus.unknown(topic: request.topic, "topic \(request.topic) was deleted")
            }
            try append(request, to: topic, call)
        } catch {
            call.fail(error.about("topic", request.topic))
        }
    }

    private func append(_ request: PublishRequestReader, to topic: Int, _ call: GRPCCall) throws(GRPCStatus) {
        let publication = Publication(call, records: request.recordCount)
        publication.missing = try call.connection.gatherer.add(
            request, to: topic, for: publication, 0, unkeyed: call.connection.nextUnkeyedPartition)
    }
}

/// Waits for the batches of one request. Confined to the connection's loop.
private final class Publication: Publisher {
    private let call: GRPCCall
    private let records: Int
    private var published: [PublishedBatch] = []
    var missing = 0

    init(_ call: GRPCCall, records: Int) {
        self.call = call
        self.records = records
    }

    func appended(_ request: UInt64, _ batch: PublishedBatch) {
        published.append(batch)
        missing -= 1
        guard missing == 0 else { return }
        if published.count == 1, published[0].positions.isEmpty {
            published[0].positions = records == 1 ? Self.firstOnly : Array(0..<Int32(records))
        }
        call.respond { PublishResponseWriter.write(published, into: &$0) }
    }

    func refused(_ request: UInt64, _ error: EngineError, of partition: Partition) {
        missing -= 1
        call.fail(GRPCStatus(publishing: error, to: partition))
    }

    private static let firstOnly: [Int32] = [0]
}
