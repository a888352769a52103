// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the operations a client may perform, as bits numbered by Kafka's AclOperation (KIP-430).

import KafkaWire

extension AuthorizedOperations {
    private static let read = 3, write = 4, create = 5, delete = 6, alter = 7, describe = 8
    private static let clusterAction = 9, describeConfigs = 10, alterConfigs = 11, idempotentWrite = 12

    /// Everything that can be done with a topic.
    static let topic = bits(read, write, create, delete, alter, describe, describeConfigs, alterConfigs)
    /// Everything that can be done with the cluster.
    static let cluster = bits(
        create, alter, describe, clusterAction, describeConfigs, alterConfigs, idempotentWrite)
    /// Everything that can be done with a group.
    static let group = bits(read, delete, describe, describeConfigs, alterConfigs)

    private static func bits(_ operations: Int...) -> Int32 {
        operations.reduce(0) { $0 | (1 << Int32($1)) }
    }
}
