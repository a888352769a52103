// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: access rules and filters from and to the numbers of Kafka's ACL messages, with Kafka's checks.

import Engine
import KafkaWire

/// Why a rule or a filter is none.
struct InvalidAccessRule: Error {
    var message: String
}

extension AccessRule {
    /// Names are bounded like everything that is kept.
    private static let nameBytesMax = 1_024

    init(_ creation: CreateAclsRequest.Creation) throws(InvalidAccessRule) {
        guard let resource = ResourceType(rawValue: creation.resourceType) else {
            throw InvalidAccessRule(message: "resource type \(creation.resourceType) is not known")
        }
        guard let pattern = ResourcePattern(rawValue: creation.resourcePatternType) else {
            throw InvalidAccessRule(message: "pattern type \(creation.resourcePatternType) is neither literal nor prefixed")
        }
        guard let operation = AccessOperation(rawValue: creation.operation) else {
            throw InvalidAccessRule(message: "operation \(creation.operation) is not known")
        }
        guard let permission = AccessPermission(rawValue: creation.permissionType) else {
            throw InvalidAccessRule(message: "permission type \(creation.permissionType) is neither deny nor allow")
        }
        let name = creation.resourceName
        guard !name.isEmpty else { throw InvalidAccessRule(message: "the resource name is empty") }
        if resource == .cluster, name != AccessRule.clusterName {
            throw InvalidAccessRule(message: "the only name of a cluster is \(AccessRule.clusterName)")
        }
        guard creation.principal.hasPrefix("User:") else {
            throw InvalidAccessRule(message: "the principal \(creation.principal) does not begin with User:")
        }
        guard !creation.host.isEmpty else { throw InvalidAccessRule(message: "the host is empty; * is every host") }
        guard [name, creation.principal, creation.host].allSatisfy({ $0.utf8.count <= Self.nameBytesMax }) else {
            throw InvalidAccessRule(message: "a name is longer than \(Self.nameBytesMax) bytes")
        }
        self.init(
            permission, creation.principal, operation, resource, name, pattern: pattern, host: creation.host)
    }

    /// In the order in which rules are listed.
    static func precedes(_ one: AccessRule, _ other: AccessRule) -> Bool {
        one.order.lexicographicallyPrecedes(other.order)
    }

    private var order: [String] {
        [
            "\(resource.rawValue)", name, "\(pattern.rawValue)", principal, host, "\(operation.rawValue + 10)",
            "\(permission.rawValue)",
        ]
    }
}

extension AccessRuleFilter {
    private static let any: Int8 = 1

    init(_ filter: DescribeAclsRequest) throws(InvalidAccessRule) {
        try self.init(
            filter.resourceTypeFilter, filter.resourceNameFilter, filter.patternTypeFilter, filter.principalFilter,
            filter.hostFilter, filter.operation, filter.permissionType)
    }

    init(_ filter: DeleteAclsRequest.Filter) throws(InvalidAccessRule) {
        try self.init(
            filter.resourceTypeFilter, filter.resourceNameFilter, filter.patternTypeFilter, filter.principalFilter,
            filter.hostFilter, filter.operation, filter.permissionType)
    }

    private init(
        _ resourceType: Int8, _ name: String?, _ patternType: Int8, _ principal: String?, _ host: String?,
        _ operation: Int8, _ permissionType: Int8
    ) throws(InvalidAccessRule) {
        self.init()
        resource = try Self.known(resourceType, "resource type")
        self.operation = try Self.known(operation, "operation")
        permission = try Self.known(permissionType, "permission type")
        switch patternType {
        case Self.any: names = .any
        case 2: names = .matching
        default:
            guard let pattern = ResourcePattern(rawValue: patternType) else {
                throw InvalidAccessRule(message: "pattern type \(patternType) is not known")
            }
            names = .exactly(pattern)
        }
        self.name = name
        self.principal = principal
        self.host = host
    }

    private static func known<Value: RawRepresentable<Int8>>(
        _ number: Int8, _ what: String
    ) throws(InvalidAccessRule) -> Value? {
        if number == any { return nil }
        guard let value = Value(rawValue: number) else {
            throw InvalidAccessRule(message: "\(what) \(number) is not known")
        }
        return value
    }
}
