// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DeleteGroups (key 42).
//
// Versions: 0 to 2.
// Behaviour: groups without members go, with their offsets; the reply goes when that is durable. A group named twice
//   is answered once, as in Kafka.
// Deviations from Kafka: none known.
// Notes: 2 is flexible.

import Engine
import KafkaWire

enum DeleteGroupsHandler: KafkaHandler {
    static func handle(_ request: DeleteGroupsRequest, _ exchange: Exchange) {
        var seen: Set<String> = []
        let groupIds = request.groupsNames.filter { seen.insert($0).inserted }
        guard exchange.admits(groupIds.count, "groups", limit: 10 * Limits.groupsPerRequest) else { return }
        @Sendable func reply(_ code: (Int) -> KafkaErrorCode) {
            var response = DeleteGroupsResponse()
            response.results = groupIds.enumerated().map { index, groupId in
                var result = DeleteGroupsResponse.Result()
                result.groupId = groupId
                result.errorCode = code(index)
                return result
            }
            exchange.reply(response)
        }
        guard groupIds.count <= Limits.groupsPerRequest else { return reply { _ in .invalidRequest } }
        ShareGroupListing.delete(groupIds, exchange) { deleted in
            let others = groupIds.filter { deleted[$0] == nil }
            exchange.engine.groups.delete(others, on: exchange.loop) { results in
                let codes = Dictionary(uniqueKeysWithValues: zip(others, results.map { KafkaErrorCode($0) }))
                reply { deleted[groupIds[$0]] ?? codes[groupIds[$0]] ?? .unknownServerError }
            }
        }
    }
}
