// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: WriteTxnMarkers (key 27).
//
// Versions: 1.
// Behaviour: ends a producer's transaction in the named partitions, whatever the coordinator thinks: the tool for a
//   transaction that hangs (`kafka-transactions.sh --abort`). Answered when the markers are durable.
// Deviations from Kafka: none known.

import Engine
import KafkaWire
import Records

enum WriteTxnMarkersHandler: KafkaHandler {
    static func handle(_ request: WriteTxnMarkersRequest, _ exchange: Exchange) {
        guard request.markers.count <= Limits.transactionsPerRequest else {
            return exchange.close(
                "a request with \(request.markers.count) markers; the limit is \(Limits.transactionsPerRequest)")
        }
        let answers = Answers(request, exchange)
        for (markerAt, marker) in request.markers.enumerated() {
            for (topicAt, topic) in marker.topics.enumerated() {
                for (partitionAt, partition) in topic.partitionIndexes.enumerated() {
                    exchange.engine.transactions.writeMarker(
                        marker.transactionResult ? .commit : .abort,
                        of: TransactionalProducer(id: marker.producerId, epoch: marker.producerEpoch),
                        coordinatorEpoch: marker.coordinatorEpoch,
                        to: TopicPartition(topic: topic.name, partition: partition), on: exchange.loop
                    ) { answers.put($0, markerAt, topicAt, partitionAt) }
                }
            }
        }
        answers.allStarted()
    }

    /// Collects the partitions' results; confined to the connection's event loop.
    private final class Answers: @unchecked Sendable {
        // Unchecked: appends complete on the exchange's loop.
        private var response = WriteTxnMarkersResponse()
        private var missing = 1
        private let exchange: Exchange

        init(_ request: WriteTxnMarkersRequest, _ exchange: Exchange) {
            self.exchange = exchange
            response.markers = request.markers.map { wanted in
                var marker = WriteTxnMarkersResponse.Marker()
                marker.producerId = wanted.producerId
                marker.topics = wanted.topics.map { topic in
                    var answer = WriteTxnMarkersResponse.Topic()
                    answer.name = topic.name
                    answer.partitions = topic.partitionIndexes.map { index in
                        var partition = WriteTxnMarkersResponse.Partition()
                        partition.partitionIndex = index
                        return partition
                    }
                    missing += topic.partitionIndexes.count
                    return answer
                }
                return marker
            }
        }

        func put(_ result: Result<Void, EngineError>, _ marker: Int, _ topic: Int, _ partition: Int) {
            if case .failure(let error) = result {
                response.markers[marker].topics[topic].partitions[partition].errorCode = KafkaErrorCode(error)
            }
            allStarted()
        }

        func allStarted() {
            missing -= 1
            if missing == 0 { exchange.reply(response) }
        }
    }
}
