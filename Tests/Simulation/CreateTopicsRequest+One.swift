// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: the request that makes one topic, as the actors and the administrator send it.

import KafkaWire

extension CreateTopicsRequest {
    init(_ name: String, partitions: Int32, configs: [(name: String, value: String)], timeoutMs: Int32? = nil) {
        var topic = Topic()
        topic.name = name
        topic.numPartitions = partitions
        topic.replicationFactor = 1
        topic.configs = configs.map { name, value in
            var config = Config()
            config.name = name
            config.value = value
            return config
        }
        self.init()
        topics = [topic]
        if let timeoutMs { self.timeoutMs = timeoutMs }
    }

    /// A topic whose records stay, in segments so small that there are many.
    static func kept(_ name: String, partitions: Int32) -> Self {
        Self(name, partitions: partitions, configs: [("retention.ms", "-1"), ("segment.bytes", "3000")], timeoutMs: 1_000)
    }
}
