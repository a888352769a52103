// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: opens and removes the partitions' logs in the data directory.

import Bytes
import Storage

struct PartitionFactory: Sendable {
    var directory: DataDirectory
    var clock: any Clock
    var durability: Durability
    var groupCommit: GroupCommit
    var metrics: EngineMetrics

    /// Opens the log of one partition; a partition that was never written has no files.
    func make(
        _ topic: MetadataRecord.TopicRecord, index: Int32, configuration: TopicConfiguration
    ) throws(EngineError) -> Partition {
        let name = "\(topic.name)-\(index)"
        do {
            let log = try directory.openLog(name, topicId: topic.id, configuration: configuration.log)
            return Partition(
                topic: topic.name, topicId: topic.id, index: index, log: log, configuration: configuration,
                snapshots: ProducerSnapshots(fileSystem: directory.fileSystem, directory: name), clock: clock,
                durability: durability, groupCommit: groupCommit, metrics: metrics.topic(topic.name))
        } catch {
            throw EngineError(error)
        }
    }

    /// Removes the files of a deleted topic's closed partitions.
    func remove(_ topic: Topic) {
        for partition in topic.partitions { remove(partition) }
        metrics.forget(topic.name)
    }

    /// Removes the files of one closed partition, or of one that nobody has seen yet.
    func remove(_ partition: Partition) { partition.withLog { directory.removeLog($0) } }
}
