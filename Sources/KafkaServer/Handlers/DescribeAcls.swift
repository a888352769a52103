// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeAcls (key 29).
//
// Versions: 1 to 3.
// Behaviour: the access rules that a filter matches, by resource, in a fixed order.
// Deviations from Kafka: there is always an authoriser, so SECURITY_DISABLED is never the answer.
// Notes: 2 is flexible, 3 knows user resources.

import Engine
import KafkaWire

enum DescribeAclsHandler: KafkaHandler {
    static func handle(_ request: DescribeAclsRequest, _ exchange: Exchange) {
        var response = DescribeAclsResponse()
        do throws(InvalidAccessRule) {
            let filter = try AccessRuleFilter(request)
            let found = exchange.engine.access.rules.all.filter(filter.matches).sorted(by: AccessRule.precedes)
            for rule in found {
                let isSame = response.resources.last.map {
                    $0.resourceType == rule.resource.rawValue && $0.resourceName == rule.name
                        && $0.patternType == rule.pattern.rawValue
                }
                if isSame != true { response.resources.append(resource(of: rule)) }
                response.resources[response.resources.count - 1].acls.append(acl(rule))
            }
        } catch {
            response.errorCode = .invalidRequest
            response.errorMessage = error.message
        }
        exchange.reply(response)
    }

    private static func resource(of rule: AccessRule) -> DescribeAclsResponse.Resource {
        var resource = DescribeAclsResponse.Resource()
        resource.resourceType = rule.resource.rawValue
        resource.resourceName = rule.name
        resource.patternType = rule.pattern.rawValue
        return resource
    }

    private static func acl(_ rule: AccessRule) -> DescribeAclsResponse.Acl {
        var acl = DescribeAclsResponse.Acl()
        acl.principal = rule.principal
        acl.host = rule.host
        acl.operation = rule.operation.rawValue
        acl.permissionType = rule.permission.rawValue
        return acl
    }
}
