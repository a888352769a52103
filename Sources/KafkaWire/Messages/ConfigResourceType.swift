// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what a configuration belongs to, in DescribeConfigs and
// IncrementalAlterConfigs. The fields are plain Int8: a client may ask for a type nobody knows.

package enum ConfigResourceType {
    package static let topic: Int8 = 2
    package static let broker: Int8 = 4
    package static let brokerLogger: Int8 = 8
    package static let clientMetrics: Int8 = 16
    package static let group: Int8 = 32
}
