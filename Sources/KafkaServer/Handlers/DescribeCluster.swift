// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeCluster (key 60).
//
// Versions: 0 to 2.
// Behaviour: one broker, which is its own controller, at the address this client used (or the advertised one).
// Deviations from Kafka: asked for controller endpoints (version 1, KIP-919) the answer is UNSUPPORTED_ENDPOINT_TYPE:
//   there is no separate controller to talk to.

import Engine
import KafkaWire

enum DescribeClusterHandler: KafkaHandler {
    private static let brokers: Int8 = 1

    static func handle(_ request: DescribeClusterRequest, _ exchange: Exchange) {
        var response = DescribeClusterResponse()
        response.endpointType = request.endpointType
        guard request.endpointType == brokers else {
            response.errorCode = .unsupportedEndpointType
            response.errorMessage = "this broker has no separate controller; ask for brokers (endpoint type 1)"
            return exchange.reply(response)
        }
        let node = exchange.engine.configuration.nodeId
        response.clusterId = exchange.engine.clusterId
        response.controllerId = node
        var broker = DescribeClusterResponse.Broker()
        broker.brokerId = node
        (broker.host, broker.port) = exchange.advertisedAddress
        response.brokers = [broker]
        if request.includeClusterAuthorizedOperations {
            response.clusterAuthorizedOperations = AuthorizedOperations.cluster
        }
        exchange.reply(response)
    }
}
