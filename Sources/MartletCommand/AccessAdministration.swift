// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: what `martlet acl` asks of a broker, over Kafka's protocol (KIP-140, KIP-290).
//
// Works with any broker that speaks the protocol. Rules of kinds that are not known here are left out of lists.

import Client
import Engine
import KafkaWire

struct AccessAdministration {
    /// The numbers of filters.
    private static let any: Int8 = 1
    private static let matching: Int8 = 2
    /// DescribeConfigs' number of a broker.
    private static let brokerResource: Int8 = 4
    /// Set where an external policy decides.
    static let policySetting = "authorizer.opa.url"

    private let client: KafkaClient

    init(_ options: ConnectionOptions) throws(ClientError) {
        client = try KafkaClient(options)
    }

    func add(_ rules: [AccessRule]) throws {
        var request = CreateAclsRequest()
        request.creations = rules.map(CreateAclsRequest.Creation.init)
        let answer = try send(request)
        guard answer.results.count == rules.count else { throw noAnswer }
        for (rule, result) in zip(rules, answer.results) {
            try check(result.errorCode, result.errorMessage, rule.description)
        }
    }

    func remove(_ rules: [AccessRule]) throws {
        var request = DeleteAclsRequest()
        request.filters = rules.map(DeleteAclsRequest.Filter.init)
        let answer = try send(request)
        guard answer.filterResults.count == rules.count else { throw noAnswer }
        for (rule, result) in zip(rules, answer.filterResults) {
            try check(result.errorCode, result.errorMessage, rule.description)
            guard !result.matchingAcls.isEmpty else {
                throw CommandError("there is no such rule: \(rule); `martlet acl list` shows those there are")
            }
        }
    }

    /// All rules, or those that speak of any of these resources; each once.
    func list(about resources: [(resource: ResourceType, name: String)]) throws -> [AccessRule] {
        guard !resources.isEmpty else { return try list(nil) }
        var found: [AccessRule] = []
        for resource in resources {
            for rule in try list(resource) where !found.contains(rule) { found.append(rule) }
        }
        return found
    }

    private func list(_ about: (resource: ResourceType, name: String)?) throws -> [AccessRule] {
        var request = DescribeAclsRequest()
        request.resourceTypeFilter = about?.resource.rawValue ?? Self.any
        request.resourceNameFilter = about?.name
        request.patternTypeFilter = about == nil ? Self.any : Self.matching
        request.operation = Self.any
        request.permissionType = Self.any
        let answer = try send(request)
        try check(answer.errorCode, answer.errorMessage, "access rules")
        return answer.resources.flatMap { resource in
            resource.acls.compactMap { acl in
                guard let type = ResourceType(rawValue: resource.resourceType),
                    let pattern = ResourcePattern(rawValue: resource.patternType),
                    let operation = AccessOperation(rawValue: acl.operation),
                    let permission = AccessPermission(rawValue: acl.permissionType)
                else { return nil }
                return AccessRule(
                    permission, acl.principal, operation, type, resource.resourceName, pattern: pattern, host: acl.host)
            }
        }
    }

    /// Whether the broker was shown the client's certificate: there is one, and it asked for it.
    func showsCertificate() throws(ClientError) -> Bool {
        try client.connection(to: client.options.endpoint).isCertificateShown
    }

    /// What the broker says of its own settings; those without a value are left out.
    func brokerSettings() throws -> [String: String] {
        var metadata = MetadataRequest()
        metadata.topics = []
        metadata.allowAutoTopicCreation = false
        guard let broker = try send(metadata).brokers.first else { throw noAnswer }
        var resource = DescribeConfigsRequest.Resource()
        resource.resourceType = Self.brokerResource
        resource.resourceName = "\(broker.nodeId)"
        var request = DescribeConfigsRequest()
        request.resources = [resource]
        guard let result = try send(request).results.first else { throw noAnswer }
        try check(result.errorCode, result.errorMessage, "broker settings")
        return result.configs.reduce(into: [:]) { settings, config in
            if let value = config.value { settings[config.name] = value }
        }
    }

    private func send<Request: KafkaRequest>(_ request: Request) throws(ClientError) -> Request.Response {
        try client.wait(client.connection(to: client.options.endpoint).send(request))
    }

    private var noAnswer: CommandError {
        CommandError("\(client.options.endpoint) answered without all rules; is it a Kafka broker?")
    }

    private func check(_ code: KafkaErrorCode, _ message: String?, _ what: String) throws(CommandError) {
        guard code != .none else { return }
        let advice =
            switch code {
            case .clusterAuthorizationFailed:
                "this identity may not do that; it needs Alter (to see: Describe) on the cluster"
            default: "the broker refuses (\(code.name))"
            }
        throw CommandError("\(what): \(advice)" + (message.map { ": \($0)" } ?? ""))
    }
}

// MARK: - Rules as messages have them

extension CreateAclsRequest.Creation {
    fileprivate init(_ rule: AccessRule) {
        self.init()
        (resourceType, resourceName, resourcePatternType) = (rule.resource.rawValue, rule.name, rule.pattern.rawValue)
        (principal, host) = (rule.principal, rule.host)
        (operation, permissionType) = (rule.operation.rawValue, rule.permission.rawValue)
    }
}

extension DeleteAclsRequest.Filter {
    /// Matches this rule and no other.
    fileprivate init(_ rule: AccessRule) {
        self.init()
        (resourceTypeFilter, resourceNameFilter, patternTypeFilter) = (rule.resource.rawValue, rule.name, rule.pattern.rawValue)
        (principalFilter, hostFilter) = (rule.principal, rule.host)
        (operation, permissionType) = (rule.operation.rawValue, rule.permission.rawValue)
    }
}
