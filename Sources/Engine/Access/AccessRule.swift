// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one access rule: Kafka's ACL binding, with Kafka's numbers (KIP-50, KIP-290).

/// What a rule is about.
package enum ResourceType: Int8, Sendable, CaseIterable {
    case topic = 2
    case group = 3
    case cluster = 4
    case transactionalId = 5
    case delegationToken = 6
    case user = 7
}

package enum AccessOperation: Int8, Sendable, CaseIterable {
    case all = 2
    case read, write, create, delete, alter, describe
    case clusterAction, describeConfigs, alterConfigs, idempotentWrite
    case createTokens, describeTokens, twoPhaseCommit

    /// The bit of KIP-430's bit fields.
    package var bit: UInt32 { 1 << UInt32(rawValue) }

    /// Everything that a rule which allows this operation allows.
    var implied: UInt32 {
        switch self {
        case .all: ~0
        case .read, .write, .delete, .alter: bit | Self.describe.bit
        case .alterConfigs: bit | Self.describeConfigs.bit
        default: bit
        }
    }
}

/// Which names a rule's resource name means.
package enum ResourcePattern: Int8, Sendable, CaseIterable {
    /// This name, or every name if it is `*`.
    case literal = 3
    /// Every name that begins so.
    case prefixed = 4
}

package enum AccessPermission: Int8, Sendable, CaseIterable {
    case deny = 2
    case allow = 3
}

package struct AccessRule: Hashable, Sendable {
    /// A resource name, a host or (after `User:`) a principal's name that means all of them.
    package static let wildcard = "*"
    package static let everyone = "User:*"
    /// The only cluster there is.
    package static let clusterName = "kafka-cluster"

    package var resource: ResourceType
    package var pattern: ResourcePattern
    package var name: String
    /// `User:` and a name, or `User:*`.
    package var principal: String
    /// An address as text, or `*`.
    package var host: String
    package var operation: AccessOperation
    package var permission: AccessPermission

    package init(
        _ permission: AccessPermission, _ principal: String, _ operation: AccessOperation, _ resource: ResourceType,
        _ name: String, pattern: ResourcePattern = .literal, host: String = AccessRule.wildcard
    ) {
        self.resource = resource
        self.pattern = pattern
        self.name = name
        self.principal = principal
        self.host = host
        self.operation = operation
        self.permission = permission
    }
}

// Said with every denial and audit event: by tables, because asking the runtime for a case's name costs more than the decision.

extension ResourceType: CustomStringConvertible {
    package var description: String {
        switch self {
        case .topic: "topic"
        case .group: "group"
        case .cluster: "cluster"
        case .transactionalId: "transactionalId"
        case .delegationToken: "delegationToken"
        case .user: "user"
        }
    }
}

extension AccessOperation: CustomStringConvertible {
    package var description: String {
        switch self {
        case .all: "all"
        case .read: "read"
        case .write: "write"
        case .create: "create"
        case .delete: "delete"
        case .alter: "alter"
        case .describe: "describe"
        case .clusterAction: "clusterAction"
        case .describeConfigs: "describeConfigs"
        case .alterConfigs: "alterConfigs"
        case .idempotentWrite: "idempotentWrite"
        case .createTokens: "createTokens"
        case .describeTokens: "describeTokens"
        case .twoPhaseCommit: "twoPhaseCommit"
        }
    }
}

extension AccessRule: CustomStringConvertible {
    /// For people: log lines, audit events and `martlet acl`.
    package var description: String {
        let names = pattern == .prefixed ? "\(name)… (prefix)" : name
        let from = host == Self.wildcard ? "" : " from \(host)"
        return "\(permission) \(principal) \(operation) on \(resource) \(names)\(from)"
    }
}
