// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeAcls (key 29).
//
// Versions: 1 to 3.
// Behaviour: as Kafka without an authoriser: SECURITY_DISABLED.
// Deviations from Kafka: access control is not served.
// Notes: 2 is flexible, 3 adds user resources.

import Engine
import KafkaWire

enum DescribeAclsHandler: KafkaHandler {
    static func handle(_ request: DescribeAclsRequest, _ exchange: Exchange) {
        var response = DescribeAclsResponse()
        response.errorCode = .securityDisabled
        response.errorMessage = "No Authorizer is configured on the broker"
        exchange.reply(response)
    }
}
