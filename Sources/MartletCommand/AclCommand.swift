// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet acl`: add, list, remove, test.

import ArgumentParser
import Client
import Engine
import Glibc
import NIOCore
import Telemetry

struct AclCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "acl", abstract: "Add, list, remove and test access rules.",
        discussion: """
            Rules are Kafka's ACLs and hold for Kafka, gRPC and HTTP alike. Without any rule everybody may
            do everything; from the first rule on, what no rule allows is denied. A rule that denies wins.

              martlet acl add alice write --topic orders
              martlet acl add alice read --topic orders- --prefix --group reports
              martlet acl add '*' all --topic secrets --deny
              martlet acl test alice write --topic orders

            PRINCIPAL is a user's name, User:CN=… for a certificate, or * for everybody.
            OPERATION is one or more, separated by commas, of:
              \(OperationArgument.names)
            """,
        subcommands: [Add.self, List.self, Remove.self, Test.self], defaultSubcommand: List.self)

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Add rules: one for each operation and resource.")

        @OptionGroup var rules: RuleArguments
        @Flag(help: "Add them even if nobody could change rules afterwards.") var anyway = false
        @OptionGroup(title: "Connection") var client: ClientArguments

        func validate() throws { try rules.requirePossible() }

        func run() throws {
            rules.noteSpelling()
            let administration = try AccessAdministration(client.options())
            if !anyway { try AccessLockout(client, administration)?.judge(rules.all) }
            try administration.add(rules.all)
            // Whoever may add rules need not be allowed to see settings.
            if !rules.deny, (try? administration.brokerSettings())?[AccessAdministration.policySetting] != nil {
                Terminal.write(
                    "note: an external policy decides here (\(AccessAdministration.policySetting)): "
                        + "rules that allow are not used, those that deny are\n",
                    to: STDERR_FILENO)
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List rules.",
            discussion: "With a resource: the rules that are about it, those with prefixes and * too.")

        @Option(help: "Only rules about this principal.") var principal: String?
        @OptionGroup(title: "Resources") var resources: ResourceArguments
        @Flag(help: "As JSON, one object a line.") var json = false
        @OptionGroup(title: "Connection") var client: ClientArguments

        func run() throws {
            let wanted = principal.map(principalName)
            let rules = try AccessAdministration(client.options()).list(about: resources.named)
                .filter { wanted == nil || $0.principal == wanted }
            if json {
                for rule in rules { Terminal.print(rule.json) }
                return
            }
            var table = TextTable(["PRINCIPAL", "PERMISSION", "OPERATION", "RESOURCE", "NAME", "FROM"])
            for rule in rules {
                table.add([
                    rule.principal, "\(rule.permission)", OperationArgument.name(rule.operation),
                    ResourceArguments.name(rule.resource), rule.name + (rule.pattern == .prefixed ? "…" : ""), rule.host,
                ])
            }
            table.print(ifEmpty: "no rules")
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove rules: written as they were added.",
            discussion: "An error says so if one of them was not there.")

        @OptionGroup var rules: RuleArguments
        @OptionGroup(title: "Connection") var client: ClientArguments

        func run() throws { try AccessAdministration(client.options()).remove(rules.all) }
    }

    struct Test: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say whether the rules allow something, and which rule decides.",
            discussion: """
                The status is 0 if everything is allowed and 1 if anything is not. Only rules
                are looked at, not super.users and not allow.everyone.if.no.acl.found. Where
                an external policy decides (authorizer.opa.url) rules can only deny: what none
                denies is said to be undecided, status 1.
                """)

        @Argument(help: "Who.") var principal: String
        @Argument(help: "Does what.") var operations: OperationArgument
        @OptionGroup(title: "Resources") var resources: ResourceArguments
        @Option(help: ArgumentHelp("From this address.", valueName: "address")) var host = "127.0.0.1"
        @OptionGroup(title: "Connection") var client: ClientArguments

        func validate() throws {
            try resources.requireSome()
            guard !resources.prefix else { throw ValidationError("a test is about names, not about prefixes") }
        }

        func run() throws {
            let administration = try AccessAdministration(client.options())
            let all = try administration.list(about: [])
            // Who may see rules need not be allowed to see settings.
            let settings = try? administration.brokerSettings()
            if settings == nil {
                Terminal.write("note: this identity may not see whether an external policy decides; these are the rules\n", to: STDERR_FILENO)
            }
            let hasPolicy = settings?[AccessAdministration.policySetting] != nil
            let rules = AccessRules(Set(all))
            var isAllowed = true
            for asked in resources.rules(principal, operations, host: host, .allow) {
                let (verdict, why) = judge(asked, rules, hasPolicy: hasPolicy)
                Terminal.print(
                    JSONText.escaped(
                        "\(verdict): \(asked.principal) \(OperationArgument.name(asked.operation)) on "
                            + "\(ResourceArguments.name(asked.resource)) \(asked.name): \(why)"))
                if verdict != "allowed" { isAllowed = false }
            }
            if !isAllowed { throw ExitCode.failure }
        }

        private func judge(_ asked: AccessRule, _ rules: AccessRules, hasPolicy: Bool) -> (verdict: String, why: String) {
            let isFree = rules.all.isEmpty && !hasPolicy
            let decision = isFree
                ? AccessRules.Decision(isAllowed: true, rule: nil)
                : rules.decide(asked.principal, host: host, asked.operation, asked.resource, asked.name)
            if hasPolicy, decision.isAllowed || decision.rule == nil {
                return ("undecided", "no rule denies it; the broker asks its external policy, which is not asked here")
            }
            let why = decision.rule.map(\.description) ?? (isFree ? "there are no rules" : "no rule allows it")
            return (decision.isAllowed ? "allowed" : "denied", why)
        }
    }
}

/// `alice` is `User:alice`.
private func principalName(_ text: String) -> String { text.hasPrefix("User:") ? text : "User:\(text)" }

/// Operations, separated by commas.
struct OperationArgument: ExpressibleByArgument {
    var operations: [AccessOperation]

    init?(argument: String) {
        operations = []
        for name in argument.lowercased().split(separator: ",") {
            guard let operation = AccessOperation.allCases.first(where: { Self.name($0) == name }) else { return nil }
            operations.append(operation)
        }
        if operations.isEmpty { return nil }
    }

    static let names = AccessOperation.allCases.map(name).joined(separator: ", ")

    /// `describeConfigs` is written `describe-configs`.
    static func name(_ operation: AccessOperation) -> String {
        "\(operation)".reduce(into: "") { $0 += $1.isUppercase ? "-\($1.lowercased())" : String($1) }
    }
}

/// Rules as they are written: one for each operation and resource.
struct RuleArguments: ParsableArguments {
    @Argument(help: "Whom the rules are about.") var principal: String
    @Argument(help: "What they may do, or not.") var operations: OperationArgument
    @OptionGroup(title: "Resources") var resources: ResourceArguments
    @Flag(help: "Rules that forbid; they win over all that allow.") var deny = false
    @Option(help: ArgumentHelp("Only from this address; ranges and names are none.", valueName: "address"))
    var host = AccessRule.wildcard

    func validate() throws { try resources.requireSome() }

    /// Rules that could be about somebody and something; those that are there already may be otherwise.
    func requirePossible() throws {
        guard principalName(principal) != "User:" else { throw ValidationError("User: is no principal; name somebody, or *") }
        try resources.requirePossible()
        guard host != AccessRule.wildcard else { return }
        // Rules are compared with the broker's spelling of an address.
        guard let address = try? SocketAddress(ipAddress: host, port: 0), let spelled = address.ipAddress else {
            throw ValidationError("--host \(host) is no address; a rule has one such as 10.0.0.7, no range and no name, or * for all")
        }
        guard spelled == host else { throw ValidationError("--host \(host): write it as \(spelled)") }
    }

    /// A name that is perhaps a certificate's is compared letter by letter; a login may be called anything.
    func noteSpelling() {
        guard let meant = SubjectSpelling.corrected(String(principalName(principal).dropFirst("User:".count))) else { return }
        Terminal.write(
            "note: no certificate's owner is called \(JSONText.escaped(principal)); perhaps User:\(JSONText.escaped(meant)), "
                + "as `martlet certs show FILE` has the subject\n",
            to: STDERR_FILENO)
    }

    var all: [AccessRule] { resources.rules(principal, operations, host: host, deny ? .deny : .allow) }
}

/// What rules are about.
struct ResourceArguments: ParsableArguments {
    @Option(name: .customLong("topic"), help: "A topic, * for all; may be repeated, like all of these.")
    var topics: [String] = []
    @Option(name: .customLong("group"), help: "A group.") var groups: [String] = []
    @Option(name: .customLong("transactional-id"), help: "A transactional id.") var transactionalIds: [String] = []
    @Flag(help: "The cluster itself.") var cluster = false
    @Flag(help: "The names are prefixes: rules about all that begins so.") var prefix = false

    func requireSome() throws {
        guard !named.isEmpty else {
            throw ValidationError("name what it is about: --topic, --group, --transactional-id or --cluster")
        }
    }

    /// A rule about a topic that cannot be is about nothing.
    func requirePossible() throws {
        for topic in topics where topic != AccessRule.wildcard {
            // A prefix may be shorter than a name.
            let probe = prefix ? topic + "x" : topic
            if let problem = topicNameProblem(probe) { throw ValidationError("no topic can be called `\(topic)`: \(problem)") }
        }
    }

    var named: [(resource: ResourceType, name: String)] {
        topics.map { (.topic, $0) } + groups.map { (.group, $0) } + transactionalIds.map { (.transactionalId, $0) }
            + (cluster ? [(.cluster, AccessRule.clusterName)] : [])
    }

    func rules(
        _ principal: String, _ operations: OperationArgument, host: String, _ permission: AccessPermission
    ) -> [AccessRule] {
        named.flatMap { resource, name in
            operations.operations.map {
                AccessRule(
                    permission, principalName(principal), $0, resource, name,
                    pattern: prefix && resource != .cluster ? .prefixed : .literal, host: host)
            }
        }
    }

    static func name(_ resource: ResourceType) -> String {
        switch resource {
        case .topic, .group, .cluster, .user: "\(resource)"
        case .transactionalId: "transactional-id"
        case .delegationToken: "delegation-token"
        }
    }
}

extension AccessRule {
    fileprivate var json: String {
        let fields = [
            ("principal", principal), ("permission", "\(permission)"), ("operation", OperationArgument.name(operation)),
            ("resource", ResourceArguments.name(resource)), ("name", name), ("pattern", "\(pattern)"), ("host", host),
        ]
        return "{" + fields.map { "\"\($0.0)\":\(JSONText.quoted($0.1))" }.joined(separator: ",") + "}"
    }
}
