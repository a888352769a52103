// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: transactions as administrators see them (KIP-664).

extension TransactionCoordinator {
    /// All transactional ids, sorted.
    package func list() -> [(id: String, transaction: Transaction)] {
        table.withLock { table in table.entries.map { ($0.key, $0.value.current) } }.sorted { $0.id < $1.id }
    }

    /// nil if there is no such id.
    package func describe(_ id: String) -> Transaction? {
        table.withLock { $0.entries[id]?.current }
    }
}
