// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AlterReplicaLogDirs (key 34).
//
// Versions: 1 to 2.
// Behaviour: there is one directory, so a partition can only be moved to where it is, which succeeds and does nothing. Any other
//   path is LOG_DIR_NOT_FOUND; a partition that is not there is UNKNOWN_TOPIC_OR_PARTITION.
// Deviations from Kafka: Kafka answers KAFKA_STORAGE_ERROR for a path that is none of its directories.
// Notes: 2 is flexible.

import Engine
import KafkaWire

enum AlterReplicaLogDirsHandler: KafkaHandler {
    static func handle(_ request: AlterReplicaLogDirsRequest, _ exchange: Exchange) {
        let count = request.dirs.reduce(request.dirs.count) { $1.topics.reduce($0) { $0 + $1.partitions.count + 1 } }
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        let engine = exchange.engine
        var results: [String: [AlterReplicaLogDirsResponse.Partition]] = [:]
        for directory in request.dirs {
            let isHere = directory.path == engine.configuration.logDirectory
            for wanted in directory.topics {
                let topic = engine.topics.topic(named: wanted.name)
                results[wanted.name, default: []] += wanted.partitions.map { index in
                    var result = AlterReplicaLogDirsResponse.Partition()
                    result.partitionIndex = index
                    let isKnown = topic?.partition(index) != nil
                    result.errorCode = !isKnown ? .unknownTopicOrPartition : isHere ? .none : .logDirNotFound
                    return result
                }
            }
        }
        var response = AlterReplicaLogDirsResponse()
        response.results = results.sorted { $0.key < $1.key }.map { name, partitions in
            var topic = AlterReplicaLogDirsResponse.Topic()
            topic.topicName = name
            topic.partitions = partitions
            return topic
        }
        exchange.reply(response)
    }
}
