// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: transactions as administrators see them (KIP-664).

import NIOCore
import Records
import Synchronization

extension TransactionCoordinator {
    /// Ends a producer's transaction in one partition, whatever its state here. `completion` runs on `loop`.
    package func writeMarker(
        _ marker: TransactionMarker, of producer: TransactionalProducer, coordinatorEpoch: Int32,
        to place: TopicPartition, on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, EngineError>) -> Void
    ) {
        do throws(EngineError) {
            guard let topic = topics.topic(named: place.topic), !topic.isInternal,
                let partition = topic.partition(place.partition)
            else { throw EngineError(.unknownPartition, "there is no partition \(place.topic)-\(place.partition)") }
            try partition.enqueueMarker(
                marker, producerId: producer.id, epoch: producer.epoch, coordinatorEpoch: coordinatorEpoch,
                turn: turns.turn(for: loop)
            ) { completion($0.map { _ in }) }
        } catch {
            completion(.failure(error))
        }
    }

    /// All transactional ids, sorted.
    package func list() -> [(id: String, transaction: Transaction)] {
        table.withLock { table in table.entries.map { ($0.key, $0.value.current) } }.sorted { $0.id < $1.id }
    }

    /// nil if there is no such id.
    package func describe(_ id: String) -> Transaction? {
        table.withLock { $0.entries[id]?.current }
    }
}
