// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: FindCoordinator (key 10).
//
// Versions: 0 to 6.
// Behaviour: this broker, at the address this client used (or the advertised one), for every group and every
//   transactional id: one broker coordinates everything.
// Deviations from Kafka: coordinators are there from the start, so COORDINATOR_NOT_AVAILABLE does not occur.
// Notes: 0 knows groups only, 1 adds the key's type and error messages, 4 many keys (KIP-699), 6 share groups
//   (KIP-932), which get INVALID_REQUEST as from a Kafka that does not have them switched on.

import Engine
import KafkaWire

enum FindCoordinatorHandler: KafkaHandler {
    static func handle(_ request: FindCoordinatorRequest, _ exchange: Exchange) {
        let keys = exchange.version <= 3 ? [request.key] : request.coordinatorKeys
        guard exchange.admits(keys.count, "keys", limit: 10 * Limits.groupsPerRequest) else { return }
        let isKnown =
            request.keyType == FindCoordinatorRequest.KeyType.group
            || request.keyType == FindCoordinatorRequest.KeyType.transaction
        var coordinator = FindCoordinatorResponse.Coordinator()
        if isKnown && keys.count <= Limits.groupsPerRequest {
            coordinator.nodeId = exchange.engine.configuration.nodeId
            (coordinator.host, coordinator.port) = exchange.advertisedAddress
        } else {
            coordinator.nodeId = -1
            coordinator.port = -1
            coordinator.errorCode = .invalidRequest
            coordinator.errorMessage =
                isKnown
                ? "the request has \(keys.count) keys; the limit is \(Limits.groupsPerRequest)"
                : "there are no coordinators of type \(request.keyType); groups are 0, transactions 1"
        }
        exchange.reply(response(for: keys, coordinator, version: exchange.version))
    }

    private static func response(
        for keys: [String], _ coordinator: FindCoordinatorResponse.Coordinator, version: Int16
    ) -> FindCoordinatorResponse {
        var response = FindCoordinatorResponse()
        if version <= 3 {
            response.errorCode = coordinator.errorCode
            response.errorMessage = coordinator.errorMessage
            response.nodeId = coordinator.nodeId
            response.host = coordinator.host
            response.port = coordinator.port
        } else {
            response.coordinators = keys.map { key in
                var each = coordinator
                each.key = key
                return each
            }
        }
        return response
    }
}
