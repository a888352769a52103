// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what each request needs its client to be allowed, apart from what it does.
//
//   request -> authorize: what is denied is taken out -> handler, which knows nothing of it -> reply: refusals are put in
//   and back, as long as an external policy has to be asked (`Exchange.decided`): so `authorize` only asks, and has no effect.
//
// Every request that a handler serves says what it needs (`AuthorizedRequest`), so an API without a rule does not
// compile. The operations and error codes are Apache Kafka's (KafkaApis, and the table of operations in its security
// documentation). Where nobody is restricted, none of this runs.

import Bytes
import Engine
import KafkaWire
import Logging
import Telemetry
import Transport

/// A request that says what its client must be allowed to do.
protocol AuthorizedRequest: KafkaRequest {
    /// Takes out of the request what its client may not do.
    mutating func authorize(_ rights: Rights) -> Authorization<Response>
}

enum Authorization<Response: KafkaResponse> {
    case granted
    /// The handler serves what is left; this puts the refusals into its response, or takes out what may not be seen.
    case amended(@Sendable (inout Response) -> Void)
    /// The handler is not asked.
    case refused(Response)
    /// There is no response that could say it.
    case closed(String)

    /// Granted, or refused with what `response` makes.
    static func when(_ isAllowed: Bool, else response: () -> Response) -> Authorization {
        isAllowed ? .granted : .refused(response())
    }
}

/// What is done to a response before it is sent; kept in the exchange, which does not know the response's type.
class Amendment: @unchecked Sendable {
    // Unchecked: immutable; the only subclass holds a sendable closure.
    func apply<Response: KafkaResponse>(to response: inout Response) {}
}

final class TypedAmendment<Amended: KafkaResponse>: Amendment, @unchecked Sendable {
    private let amend: @Sendable (inout Amended) -> Void

    init(_ amend: @escaping @Sendable (inout Amended) -> Void) {
        self.amend = amend
    }

    override func apply<Response: KafkaResponse>(to response: inout Response) {
        guard var amended = response as? Amended else { return }
        amend(&amended)
        // Both are the same type, as the cast has shown.
        if let same = amended as? Response { response = same }
    }
}

/// What the client of an exchange may do.
struct Rights: Sendable {
    private let exchange: Exchange

    init(_ exchange: Exchange) {
        self.exchange = exchange
    }

    var version: Int16 { exchange.version }

    /// Denials are counted and logged.
    func may(_ operation: AccessOperation, _ resource: ResourceType, _ name: String) -> Bool {
        let decision = decide(operation, resource, name)
        guard !decision.isUndecided, !decision.isAllowed || exchange.engine.audit.recordsAllowed else {
            return decision.isAllowed
        }
        noting { tell(decision, operation, resource, name) }
        return decision.isAllowed
    }

    private func decide(
        _ operation: AccessOperation, _ resource: ResourceType, _ name: String
    ) -> AccessRules.Decision {
        if let inquiry = exchange.inquiry { return inquiry.decide(operation, resource, name) }
        let connection = exchange.connection
        return exchange.engine.access.decide(
            connection.login.principal, host: connection.peer.remoteAddress, operation, resource, name)
    }

    /// What was denied for want of a decision only is nothing to tell.
    private func noting(_ note: @escaping () -> Void) {
        if let inquiry = exchange.inquiry { inquiry.noting(note) } else { note() }
    }

    private func tell(
        _ decision: AccessRules.Decision, _ operation: AccessOperation, _ resource: ResourceType, _ name: String
    ) {
        let connection = exchange.connection
        exchange.engine.audit.record(
            AuditEvent(
                .access, connection.auditSubject, "\(operation)", resource: "\(resource)", name: name,
                decision.isAllowed ? .allowed : .denied,
                rule: decision.rule ?? (decision.isAllowed || decision.cause != nil ? nil : "none allows it"),
                cause: decision.cause))
        guard !decision.isAllowed else { return }
        exchange.engine.accessMetrics.kafka.denials.increment()
        let denial = AccessDenial(
            connection.login.principal, address: connection.peer.remoteAddress, operation, resource, name, decision)
        exchange.server.logger.info("denied", metadata: denial.metadata)
    }

    /// Which trace the records belong to that were denied, if their sender said so.
    func tell(_ trace: TraceContext?, ofTopic name: String) {
        guard let trace else { return }
        noting {
            exchange.server.logger.info(
                "records were denied",
                metadata: trace.metadata.merging(
                    ["principal": "\(exchange.connection.login.principal)", "topic": "\(name)"]) { $1 })
        }
    }

    /// The same for what is only left out of a list: nobody asked for it by name.
    func maySee(_ operation: AccessOperation, _ resource: ResourceType, _ name: String) -> Bool {
        decide(operation, resource, name).isAllowed
    }

    /// Has an external policy asked about what a group's pattern would show: nobody can wait while it is matched.
    func preparePattern(groupId: String, memberId: String, pattern: String?) {
        guard exchange.inquiry != nil else { return }
        let names = exchange.engine.groups.topicsToMatch(groupId: groupId, memberId: memberId, pattern: pattern)
        for name in names { _ = maySee(.describe, .topic, name) }
    }

    func mayUse(topic: String, _ operation: AccessOperation) -> Bool { may(operation, .topic, topic) }
    func mayUse(group: String, _ operation: AccessOperation) -> Bool { may(operation, .group, group) }
    func mayUse(transaction: String, _ operation: AccessOperation = .write) -> Bool {
        may(operation, .transactionalId, transaction)
    }
    func mayUseCluster(_ operation: AccessOperation) -> Bool { may(operation, .cluster, AccessRule.clusterName) }

    /// Whether there is any topic that the client may use so (KIP-679).
    func mayUseSomeTopic(_ operation: AccessOperation) -> Bool {
        let connection = exchange.connection
        return exchange.engine.access.decideAny(
            connection.login.principal, host: connection.peer.remoteAddress, operation, .topic
        ).isAllowed
    }

    /// The bits of KIP-430, within those that make sense for the resource.
    func operations(_ resource: ResourceType, _ name: String, within mask: Int32) -> Int32 {
        let bits = AccessOperation.allCases.reduce(UInt32(0)) { bits, operation in
            guard operation != .all, operation.bit & UInt32(bitPattern: mask) != 0 else { return bits }
            return maySee(operation, resource, name) ? bits | operation.bit : bits
        }
        return Int32(bitPattern: bits)
    }

    /// The same for the cluster: none for whoever may not describe it.
    var clusterOperations: Int32 {
        guard maySee(.describe, .cluster, AccessRule.clusterName) else { return 0 }
        return operations(.cluster, AccessRule.clusterName, within: AuthorizedOperations.cluster)
    }

    /// What a share session fetches from without being told again.
    func topics(ofSession key: ShareSessionKey) -> [TopicId] { exchange.engine.shares.places(of: key).map(\.topicId) }

    func exists(_ topic: String) -> Bool { exchange.engine.topics.topic(named: topic) != nil }

    func name(ofTopic id: TopicId) -> String? { exchange.engine.topics.topic(id: id)?.name }

    /// Takes out the items of topics that may not be used so, and returns them.
    func takeOut<Item>(
        _ items: inout [Item], _ operation: AccessOperation, of resource: ResourceType = .topic,
        name: (Item) -> String?
    ) -> [Item] {
        var denied: [Item] = []
        items.removeAll { item in
            guard let name = name(item), !may(operation, resource, name) else { return false }
            denied.append(item)
            return true
        }
        return denied
    }
}
