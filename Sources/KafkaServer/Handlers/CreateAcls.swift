// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: CreateAcls (key 30).
//
// Versions: 1 to 3.
// Behaviour: adds access rules; answered when they are durable and in force. A rule that is there already succeeds. One that
//   is malformed gets INVALID_REQUEST, and the others are added all the same, as in Kafka.
// Deviations from Kafka: there is always an authoriser, so SECURITY_DISABLED is never the answer. A principal of another kind than
//   User, whom no rule could ever mean, gets INVALID_REQUEST; so does a name of more than 1,024 bytes.
// Notes: 2 is flexible, 3 knows user resources.

import Engine
import KafkaWire

enum CreateAclsHandler: KafkaHandler {
    static func handle(_ request: CreateAclsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.creations.count, "ACLs", limit: Limits.resourcesPerRequest) else { return }
        var response = CreateAclsResponse()
        var rules: [AccessRule] = []
        for creation in request.creations {
            var result = CreateAclsResponse.Result()
            do throws(InvalidAccessRule) {
                rules.append(try AccessRule(creation))
            } catch {
                result.errorCode = .invalidRequest
                result.errorMessage = error.message
            }
            response.results.append(result)
        }
        exchange.engine.access.add(rules, on: exchange.loop) { [response] outcome in
            var response = response
            if case .failure(let error) = outcome {
                for index in response.results.indices where response.results[index].errorCode == .none {
                    response.results[index].errorCode = KafkaErrorCode(error)
                    response.results[index].errorMessage = error.message
                }
            }
            exchange.reply(response)
        }
    }
}
