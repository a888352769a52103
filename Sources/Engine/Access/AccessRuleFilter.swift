// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: which access rules somebody asks for: Kafka's ACL binding filter (KIP-140, KIP-290).

package struct AccessRuleFilter: Equatable, Sendable {
    package enum Names: Equatable, Sendable {
        /// Rules of either pattern whose own name this is.
        case any
        /// Rules that speak of a resource of this name.
        case matching
        case exactly(ResourcePattern)
    }

    // nil: whatever it is.
    package var resource: ResourceType?
    package var name: String?
    package var names = Names.any
    package var principal: String?
    package var host: String?
    package var operation: AccessOperation?
    package var permission: AccessPermission?

    package init() {}

    package func matches(_ rule: AccessRule) -> Bool {
        func fits<Value: Equatable>(_ wanted: Value?, _ actual: Value) -> Bool { wanted == nil || wanted == actual }
        return fits(resource, rule.resource) && fits(principal, rule.principal) && fits(host, rule.host)
            && fits(operation, rule.operation) && fits(permission, rule.permission) && matchesName(rule)
    }

    private func matchesName(_ rule: AccessRule) -> Bool {
        switch names {
        case .any: return name == nil || name == rule.name
        case .exactly(let pattern): return rule.pattern == pattern && (name == nil || name == rule.name)
        case .matching:
            guard let name else { return true }
            return rule.pattern == .prefixed
                ? name.utf8.starts(with: rule.name.utf8) : rule.name == name || rule.name == AccessRule.wildcard
        }
    }
}
