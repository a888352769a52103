// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: Kafka's `partition.metadata` file, which ties a log's directory to a topic id.

import Bytes
import NIOCore

/// Kafka's `partition.metadata`.
enum PartitionMetadata {
    static let fileName = "partition.metadata"

    static func contents(_ topicId: TopicId) -> ByteBuffer {
        ByteBuffer(string: "version: 0\ntopic_id: \(topicId)")
    }

    /// The topic id in the file at `path`; nil if there is none that can be read.
    static func topicId(at path: String, in fileSystem: any FileSystem) throws(StorageError) -> TopicId? {
        guard try fileSystem.exists(path) else { return nil }
        let text = String(decoding: try fileSystem.open(path, create: false).readAll(limit: 256), as: UTF8.self)
        for line in text.split(separator: "\n") where line.hasPrefix("topic_id: ") {
            return TopicId(String(line.dropFirst("topic_id: ".count)))
        }
        return nil
    }
}
