// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: an access that was denied, for the broker's log.
//
// Denials may come as fast as requests, and the log takes few of them a second: nothing is put into words before the log has
// taken the line.

import Logging

package struct AccessDenial: Sendable {
    private struct Resource: CustomStringConvertible, Sendable {
        var type: ResourceType
        var name: String
        var description: String { "\(type) \(name)" }
    }

    package typealias Words = CustomStringConvertible & Sendable

    private let principal: String
    private let address: String
    private let operation: AccessOperation
    private let resource: Resource
    private let reason: any Words

    package init(
        _ principal: String, address: String, _ operation: AccessOperation, _ type: ResourceType, _ name: String,
        _ decision: AccessRules.Decision
    ) {
        self.init(principal, address: address, operation, type, name, reason: decision.reason)
    }

    init(
        _ principal: String, address: String, _ operation: AccessOperation, _ type: ResourceType, _ name: String,
        reason: any Words
    ) {
        self.principal = principal
        self.address = address
        self.operation = operation
        resource = Resource(type: type, name: name)
        self.reason = reason
    }

    package var metadata: Logger.Metadata {
        [
            "principal": .string(principal), "peer": .string(address), "operation": .stringConvertible(operation),
            "resource": .stringConvertible(resource), "rule": .stringConvertible(reason),
        ]
    }
}
