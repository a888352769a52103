// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeCluster (key 60).
//
// Versions: 0 to 2.
// Behaviour: one broker, which is its own controller, at the address this client used (or the advertised one).
// Deviations from Kafka: none known. Asked for controller endpoints (version 1, KIP-919) the answer is MISMATCHED_ENDPOINT_TYPE, as at
//   a listener for brokers of Kafka.
// Notes: 1 adds the endpoint type, 2 fenced brokers: this broker is never fenced, so asking for them adds none.

import Engine
import KafkaWire

enum DescribeClusterHandler: KafkaHandler {
    private static let brokers: Int8 = 1, controllers: Int8 = 2

    static func handle(_ request: DescribeClusterRequest, _ exchange: Exchange) {
        var response = DescribeClusterResponse()
        switch request.endpointType {
        case brokers: break
        case controllers:
            response.errorCode = exchange.version == 0 ? .invalidRequest : .mismatchedEndpointType
            response.errorMessage = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
            return exchange.reply(response)
        default:
            response.errorCode = exchange.version == 0 ? .invalidRequest : .unsupportedEndpointType
            response.errorMessage = "Unsupported endpoint type \(request.endpointType)"
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
