// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeLogDirs (key 35).
//
// Versions: 1 to 4.
// Behaviour: there is one directory. Without topics every partition is listed, otherwise those that are named; what does
//   not exist is left out. A partition's size is that of its log files; it lags by nothing, because nothing moves.
// Deviations from Kafka: none known. In memory the directory is called "memory", and the volume's size is unknown (-1).
// Notes: 3 adds an error for the whole answer, 4 the size of the volume (KIP-827).

import Engine
import KafkaWire

enum DescribeLogDirsHandler: KafkaHandler {
    static func handle(_ request: DescribeLogDirsRequest, _ exchange: Exchange) {
        let count = request.topics?.reduce(0) { $0 + $1.partitions.count } ?? 0
        guard exchange.admits(count, "partitions", limit: Limits.partitionsPerRequest) else { return }
        let engine = exchange.engine
        var result = DescribeLogDirsResponse.Result()
        result.logDir = engine.location
        if let volume = engine.volumeBytes {
            result.totalBytes = volume.total
            result.usableBytes = volume.free
        }
        if let wanted = request.topics {
            result.topics = wanted.compactMap { wanted in
                engine.topics.topic(named: wanted.topic).flatMap { topic in
                    describe(topic, wanted.partitions.compactMap { topic.partition($0) })
                }
            }
        } else {
            result.topics = engine.topics.all.compactMap { describe($0, $0.partitions) }
        }
        var response = DescribeLogDirsResponse()
        response.results = [result]
        exchange.reply(response)
    }

    private static func describe(_ topic: Topic, _ partitions: [Partition]) -> DescribeLogDirsResponse.Topic? {
        guard !partitions.isEmpty else { return nil }
        var answer = DescribeLogDirsResponse.Topic()
        answer.name = topic.name
        answer.partitions = partitions.map { partition in
            var size = DescribeLogDirsResponse.Partition()
            size.partitionIndex = partition.index
            size.partitionSize = partition.sizeInBytes
            return size
        }
        return answer
    }
}
