// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: everything the coordinator keeps durable, as the records that would restore it.

import Bytes
import Synchronization

extension GroupCoordinator {
    /// All groups, all committed offsets, and which transactions they come from. Changes of offsets that are not durable
    /// yet are not among them; those of groups are, and are written again behind it.
    func durableState() -> [KeyedRecord] {
        let wallMs = clock.nowMs()
        return table.withLock { table in
            var records: [KeyedRecord] = []
            records.reserveCapacity(table.offsetCount)
            for (_, entry) in table.groups.sorted(by: { $0.key < $1.key }) {
                records += entry.state(wallMs: wallMs)
                for (topic, partitions) in entry.offsets.sorted(by: { $0.key < $1.key }) {
                    for (partition, offset) in partitions.sorted(by: { $0.key < $1.key }) {
                        let key = OffsetKey(groupId: entry.id, topic: topic, partition: partition)
                        records.append((OffsetRecord.encode(key), OffsetRecord.encode(offset)))
                    }
                }
            }
            for (id, transaction) in table.applied {
                records.append(OffsetRecord.encode(id, transaction))
            }
            return records
        }
    }
}
