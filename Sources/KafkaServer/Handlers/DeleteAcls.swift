// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DeleteAcls (key 31).
//
// Versions: 1 to 3.
// Behaviour: removes the access rules that each filter matches and names them; answered when that is durable and in
//   force. A rule that two filters match is named by the first.
// Deviations from Kafka: there is always an authoriser, so SECURITY_DISABLED is never the answer.
// Notes: 2 is flexible, 3 knows user resources.

import Engine
import KafkaWire

enum DeleteAclsHandler: KafkaHandler {
    static func handle(_ request: DeleteAclsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.filters.count, "filters", limit: Limits.resourcesPerRequest) else { return }
        var response = DeleteAclsResponse()
        var left = exchange.engine.access.rules.all
        var removed: [AccessRule] = []
        for filter in request.filters {
            var result = DeleteAclsResponse.FilterResult()
            do throws(InvalidAccessRule) {
                let matching = left.filter(try AccessRuleFilter(filter).matches).sorted(by: AccessRule.precedes)
                left.subtract(matching)
                removed += matching
                result.matchingAcls = matching.map(acl)
            } catch {
                result.errorCode = .invalidRequest
                result.errorMessage = error.message
            }
            response.filterResults.append(result)
        }
        exchange.engine.access.remove(removed, on: exchange.loop) { [response] outcome in
            var response = response
            if case .failure(let error) = outcome {
                for index in response.filterResults.indices {
                    for at in response.filterResults[index].matchingAcls.indices {
                        response.filterResults[index].matchingAcls[at].errorCode = KafkaErrorCode(error)
                        response.filterResults[index].matchingAcls[at].errorMessage = error.message
                    }
                }
            }
            exchange.reply(response)
        }
    }

    private static func acl(_ rule: AccessRule) -> DeleteAclsResponse.MatchingAcl {
        var acl = DeleteAclsResponse.MatchingAcl()
        acl.resourceType = rule.resource.rawValue
        acl.resourceName = rule.name
        acl.patternType = rule.pattern.rawValue
        acl.principal = rule.principal
        acl.host = rule.host
        acl.operation = rule.operation.rawValue
        acl.permissionType = rule.permission.rawValue
        return acl
    }
}
