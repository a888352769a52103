// SPDX-License-Identifier: Apache-2.0
// Martlet, tests: access rules decide as Kafka's authoriser does, and as a plain reading of every rule would.

import Testing

@testable import Engine

@Suite struct AccessRulesTests {
    @Test func whatNoRuleAllowsIsDenied() {
        let rules = AccessRules([AccessRule(.allow, "User:a", .read, .topic, "t")])
        #expect(rules.decide("User:a", host: "h", .read, .topic, "t").isAllowed)
        #expect(!rules.decide("User:b", host: "h", .read, .topic, "t").isAllowed)
        #expect(!rules.decide("User:a", host: "h", .write, .topic, "t").isAllowed)
        #expect(!rules.decide("User:a", host: "h", .read, .topic, "t2").isAllowed)
        #expect(!rules.decide("User:a", host: "h", .read, .group, "t").isAllowed)
    }

    @Test func denialsWinWhereverTheyStand() {
        let denials = [
            AccessRule(.deny, "User:a", .read, .topic, "orders"),
            AccessRule(.deny, "User:*", .all, .topic, "ord", pattern: .prefixed),
            AccessRule(.deny, "User:a", .all, .topic, "*"),
            AccessRule(.deny, "User:a", .read, .topic, "orders", host: "10.0.0.1"),
        ]
        for denial in denials {
            let rules = AccessRules([AccessRule(.allow, "User:a", .all, .topic, "*"), denial])
            let decision = rules.decide("User:a", host: "10.0.0.1", .read, .topic, "orders")
            #expect(decision == .init(isAllowed: false, rule: denial))
        }
        let elsewhere = AccessRules([AccessRule(.allow, "User:a", .all, .topic, "*"), denials[3]])
        #expect(elsewhere.decide("User:a", host: "10.0.0.2", .read, .topic, "orders").isAllowed)
    }

    @Test(arguments: ["10.0.0.1", "::ffff:10.0.0.1", "::FFFF:0a00:0001"])
    func aHostIsAnAddressHoweverItIsWritten(host: String) {
        let rule = AccessRule(.allow, "User:a", .read, .topic, "t", host: host)
        let rules = AccessRules([rule, AccessRule(.allow, "User:b", .read, .topic, "t", host: "0:0:0:0:0:0:0:1")])
        #expect(rules.decide("User:a", host: "10.0.0.1", .read, .topic, "t").isAllowed)
        #expect(rules.decideAny("User:a", host: "10.0.0.1", .read, .topic).isAllowed)
        #expect(!rules.decide("User:a", host: "10.0.0.2", .read, .topic, "t").isAllowed)
        #expect(rules.decide("User:b", host: "::1", .read, .topic, "t").isAllowed)
        #expect(rules.all.contains(rule), "it is listed, and found, as it was given")
    }

    @Test(arguments: [AccessOperation.read, .write, .delete, .alter])
    func usingImpliesDescribing(_ operation: AccessOperation) {
        let allowed = AccessRules([AccessRule(.allow, "User:a", operation, .topic, "t")])
        #expect(allowed.decide("User:a", host: "h", .describe, .topic, "t").isAllowed)
        #expect(!allowed.decide("User:a", host: "h", .describeConfigs, .topic, "t").isAllowed)
        // Denying to use does not deny to describe.
        let denied = AccessRules([
            AccessRule(.deny, "User:a", operation, .topic, "t"), AccessRule(.allow, "User:a", .describe, .topic, "t"),
        ])
        #expect(denied.decide("User:a", host: "h", .describe, .topic, "t").isAllowed)
    }

    @Test func operationsAsBits() {
        let rules = AccessRules([
            AccessRule(.allow, "User:a", .read, .topic, "t"), AccessRule(.allow, "User:a", .alterConfigs, .topic, "t"),
        ])
        let expected: [AccessOperation] = [.read, .describe, .alterConfigs, .describeConfigs]
        #expect(rules.operations("User:a", host: "h", .topic, "t") == expected.reduce(0) { $0 | $1.bit })
    }

    @Test func someResource() {
        func allows(_ rules: AccessRule...) -> Bool {
            AccessRules(Set(rules)).decideAny("User:a", host: "h", .write, .topic).isAllowed
        }
        let prefix = AccessRule(.allow, "User:a", .write, .topic, "a-", pattern: .prefixed)
        #expect(allows(prefix))
        #expect(allows(prefix, AccessRule(.deny, "User:a", .write, .topic, "a-1")))
        #expect(!allows(prefix, AccessRule(.deny, "User:a", .write, .topic, "a", pattern: .prefixed)))
        #expect(!allows(prefix, AccessRule(.deny, "User:*", .all, .topic, "*")))
        #expect(!allows(AccessRule(.allow, "User:a", .write, .topic, "t"), AccessRule(.deny, "User:a", .write, .topic, "t")))
        #expect(!allows(AccessRule(.allow, "User:a", .write, .group, "t")))
    }

    /// Every rule read one by one, against the index, for thousands of random rules and questions.
    @Test func theIndexSaysWhatThePlainReadingSays() {
        var random = SystemRandomNumberGenerator()
        let names = ["a", "ab", "abc", "abd", "b", "ba", "*", "abcd", "zz", ""]
        let users = ["User:a", "User:b", "User:*"]
        let hosts = ["*", "h1", "h2"]
        for _ in 0..<300 {
            let rules = Set(
                (0..<Int.random(in: 0...12)).map { _ in
                    AccessRule(
                        Bool.random(using: &random) ? .allow : .deny, users.randomElement() ?? "",
                        AccessOperation.allCases.randomElement() ?? .all,
                        Bool.random() ? .topic : .group, names.randomElement() ?? "",
                        pattern: Bool.random() ? .literal : .prefixed, host: hosts.randomElement() ?? "")
                })
            let index = AccessRules(rules)
            for name in names {
                for operation in AccessOperation.allCases where operation != .all {
                    let decided = index.decide("User:a", host: "h1", operation, .topic, name).isAllowed
                    #expect(decided == plain(rules, "User:a", "h1", operation, name), "\(rules) \(operation) \(name)")
                }
            }
        }
    }

    private func plain(
        _ rules: Set<AccessRule>, _ user: String, _ host: String, _ operation: AccessOperation, _ name: String
    ) -> Bool {
        let matching = rules.filter { rule in
            let isName =
                rule.pattern == .prefixed
                ? name.hasPrefix(rule.name) || rule.name.isEmpty : rule.name == name || rule.name == "*"
            return rule.resource == .topic && isName && ["*", host].contains(rule.host)
                && ["User:*", user].contains(rule.principal)
        }
        if matching.contains(where: { $0.permission == .deny && ($0.operation == operation || $0.operation == .all) }) {
            return false
        }
        return matching.contains { rule in
            guard rule.permission == .allow else { return false }
            if rule.operation == operation || rule.operation == .all { return true }
            if operation == .describe { return [.read, .write, .delete, .alter].contains(rule.operation) }
            return operation == .describeConfigs && rule.operation == .alterConfigs
        }
    }
}
