// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: all access rules, arranged so that a decision looks only at the few that can matter.
//
// Immutable: a change makes a new one. A decision finds the rules of the exact name, of `*`, and of every prefix of the
// name (by one binary search and a walk along prefixes of prefixes), and among them those of the principal and of
// everybody. Kafka's semantics: a rule that denies wins over any that allows; what no rule allows is denied.

import Bytes

package struct AccessRules: Sendable {
    package let all: Set<AccessRule>
    private var resources: [ResourceType: Resources] = [:]
    /// All rules about a type of resource, by principal, whatever names they are about.
    private var owners: [ResourceType: Principals] = [:]

    /// The answer, and the rule that gave it; nil if none did.
    package struct Decision: Equatable, Sendable {
        package var isAllowed: Bool
        package var rule: AccessRule?
        /// What an external policy said, if it was asked.
        package var cause: String?
        /// An external policy would have to be asked; until then it is not allowed.
        package var isUndecided = false

        package init(isAllowed: Bool, rule: AccessRule?, cause: String? = nil) {
            self.isAllowed = isAllowed
            self.rule = rule
            self.cause = cause
        }

        static var undecided: Decision {
            var decision = Decision(isAllowed: false, rule: nil, cause: "the external policy was not asked")
            decision.isUndecided = true
            return decision
        }

        /// For people: what decided.
        package var reason: String { rule?.description ?? cause ?? "none allows it" }
    }

    /// Rules of one resource pattern, by principal.
    fileprivate typealias Principals = [String: [AccessRule]]

    fileprivate struct Resources: Sendable {
        var literal: [String: Principals] = [:]
        /// Sorted by prefix, bytewise.
        var prefixes: [Prefix] = []
    }

    fileprivate struct Prefix: Sendable {
        var name: String
        var principals: Principals
        /// The longest other prefix that this one begins with.
        var shorter: Int?
    }

    package init(_ rules: Set<AccessRule> = []) {
        all = rules
        var prefixed: [ResourceType: [String: Principals]] = [:]
        for var rule in rules {
            // Peers have one text for each address, rules may have another.
            if rule.host != AccessRule.wildcard { rule.host = AddressText.canonical(rule.host) ?? rule.host }
            owners[rule.resource, default: [:]][rule.principal, default: []].append(rule)
            switch rule.pattern {
            case .literal:
                resources[rule.resource, default: Resources()]
                    .literal[rule.name, default: [:]][rule.principal, default: []].append(rule)
            case .prefixed:
                prefixed[rule.resource, default: [:]][rule.name, default: [:]][rule.principal, default: []].append(rule)
            }
        }
        for (resource, names) in prefixed {
            resources[resource, default: Resources()].prefixes = Self.sorted(names)
        }
    }

    private static func sorted(_ names: [String: Principals]) -> [Prefix] {
        var sorted: [Prefix] = []
        sorted.reserveCapacity(names.count)
        for (name, principals) in names.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
            var shorter = sorted.indices.last
            while let index = shorter, !name.utf8.starts(with: sorted[index].name.utf8) {
                shorter = sorted[index].shorter
            }
            sorted.append(Prefix(name: name, principals: principals, shorter: shorter))
        }
        return sorted
    }

    // MARK: Decisions

    package func decide(
        _ principal: String, host: String, _ operation: AccessOperation, _ resource: ResourceType, _ name: String
    ) -> Decision {
        var decision = Decision(isAllowed: false, rule: nil)
        forEachPattern(of: resource, matching: name) { principals in
            for key in [principal, AccessRule.everyone] {
                for rule in principals[key, default: []] where rule.host == AccessRule.wildcard || rule.host == host {
                    if rule.permission == .deny {
                        guard rule.operation == operation || rule.operation == .all else { continue }
                        decision = Decision(isAllowed: false, rule: rule)
                        return false
                    }
                    if decision.rule == nil, rule.operation.implied & operation.bit != 0 {
                        decision = Decision(isAllowed: true, rule: rule)
                    }
                }
            }
            return true
        }
        return decision
    }

    /// Whether there is some resource of this type, known or not, that the principal may use so (KIP-679).
    package func decideAny(
        _ principal: String, host: String, _ operation: AccessOperation, _ resource: ResourceType
    ) -> Decision {
        guard let known = owners[resource] else { return Decision(isAllowed: false, rule: nil) }
        let lists = [known[principal, default: []], known[AccessRule.everyone, default: []]]
        func isForHost(_ rule: AccessRule) -> Bool { rule.host == AccessRule.wildcard || rule.host == host }
        var denials: [AccessRule] = []
        for list in lists {
            for rule in list where rule.permission == .deny && (rule.operation == operation || rule.operation == .all) {
                if isForHost(rule) { denials.append(rule) }
            }
        }
        for list in lists {
            for rule in list where rule.permission == .allow && rule.operation.implied & operation.bit != 0 {
                guard isForHost(rule), !denials.contains(where: { $0.covers(rule) }) else { continue }
                return Decision(isAllowed: true, rule: rule)
            }
        }
        return Decision(isAllowed: false, rule: nil)
    }

    /// Bits of all operations that are allowed (KIP-430).
    package func operations(
        _ principal: String, host: String, _ resource: ResourceType, _ name: String
    ) -> UInt32 {
        var bits: UInt32 = 0
        for operation in AccessOperation.allCases where operation != .all {
            if decide(principal, host: host, operation, resource, name).isAllowed { bits |= operation.bit }
        }
        return bits
    }

    /// Whether any rule is about this resource, whoever it is for.
    func speaks(of resource: ResourceType, _ name: String) -> Bool {
        var isFound = false
        forEachPattern(of: resource, matching: name) { _ in
            isFound = true
            return false
        }
        return isFound
    }

    /// Whether some rule is about every resource of this type.
    func speaksOfAll(_ resource: ResourceType) -> Bool { resources[resource]?.literal[AccessRule.wildcard] != nil }

    /// Visits the rules of each pattern that means the name, as long as `visit` says to go on.
    private func forEachPattern(
        of resource: ResourceType, matching name: String, _ visit: (Principals) -> Bool
    ) {
        guard let found = resources[resource] else { return }
        if let principals = found.literal[name], !visit(principals) { return }
        if name != AccessRule.wildcard, let principals = found.literal[AccessRule.wildcard], !visit(principals) { return }
        var next = found.longestPrefix(of: name)
        while let index = next, visit(found.prefixes[index].principals) { next = found.prefixes[index].shorter }
    }
}

extension AccessRules.Resources {
    /// The last prefix in order that is not behind the name either is one of its prefixes or shares one with it.
    fileprivate func longestPrefix(of name: String) -> Int? {
        var low = 0
        var high = prefixes.count
        while low < high {
            let middle = (low + high) / 2
            if name.utf8.lexicographicallyPrecedes(prefixes[middle].name.utf8) { high = middle } else { low = middle + 1 }
        }
        var index: Int? = low > 0 ? low - 1 : nil
        while let candidate = index, !name.utf8.starts(with: prefixes[candidate].name.utf8) {
            index = prefixes[candidate].shorter
        }
        return index
    }
}

extension AccessRule {
    /// Whether this rule speaks of every resource that the other speaks of.
    fileprivate func covers(_ other: AccessRule) -> Bool {
        switch pattern {
        case .literal: name == Self.wildcard || (other.pattern == .literal && other.name == name)
        case .prefixed:
            (other.pattern == .prefixed || other.name != Self.wildcard) && other.name.utf8.starts(with: name.utf8)
        }
    }
}
