// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what administrative requests change, before and after, for the audit log.
//
//   request -> targets and their state --handler--> response -> which failed, and the state now -> one event a target
//
// Apart from what the requests do: handlers know nothing of it. A request that is `AuditedRequest` says what it is about; the
// state is what the broker keeps, read when the request begins and when it is answered, never what the client sent.

import Engine
import KafkaWire
import NIOCore
import Telemetry
import Transport

/// A request that changes what is kept.
protocol AuditedRequest: KafkaRequest {
    /// What it is about; empty if it only checks.
    func auditTargets(_ exchange: Exchange) -> [AuditTarget]
    /// The targets that were not changed, by name; the empty name is all of them.
    static func auditFailures(_ response: Response) -> [String: KafkaErrorCode]
}

struct AuditTarget: Sendable {
    var resource: String
    var name: String
    /// nil: it is not there.
    var state: @Sendable () -> [String: String]?
}

/// One request's targets, until it is answered. Kept in the exchange, which does not know the request's type.
class AuditTrail: @unchecked Sendable {
    // Unchecked: immutable; confined to the exchange's loop anyway.
    func end<Response: KafkaResponse>(_ response: Response, _ exchange: Exchange) {}
}

final class TypedAuditTrail<Request: AuditedRequest>: AuditTrail, @unchecked Sendable {
    /// Targets of one request that get events.
    private static var targetsMax: Int { 1_000 }

    private let targets: [(target: AuditTarget, before: [String: String]?)]

    init(_ request: Request, _ exchange: Exchange) {
        targets = request.auditTargets(exchange).prefix(Self.targetsMax).map { ($0, $0.state()) }
    }

    override func end<Response: KafkaResponse>(_ response: Response, _ exchange: Exchange) {
        guard let response = response as? Request.Response else { return }
        let failures = Request.auditFailures(response)
        let subject = exchange.connection.auditSubject
        for (target, before) in targets {
            let failure = failures[target.name] ?? failures[""]
            exchange.engine.audit.record(
                AuditEvent(
                    .change, subject, Request.apiKey.name, resource: target.resource, name: target.name,
                    failure == nil ? .succeeded : .failed, cause: failure.map { "\($0)" }, before: before,
                    after: target.state()))
        }
    }
}

extension AuditedRequest {
    func trail(_ exchange: Exchange) -> AuditTrail { TypedAuditTrail(self, exchange) }

    /// For responses that do not name what they are about: the first failure, of all targets.
    static func all(_ codes: [KafkaErrorCode]) -> [String: KafkaErrorCode] {
        codes.first { $0 != .none }.map { ["": $0] } ?? [:]
    }

    static func failures<Result>(
        _ results: [Result], _ name: (Result) -> String?, _ code: (Result) -> KafkaErrorCode
    ) -> [String: KafkaErrorCode] {
        let named = results.filter { code($0) != .none }.compactMap { result in name(result).map { ($0, code(result)) } }
        return Dictionary(named) { first, _ in first }
    }
}

extension KafkaConnection {
    var auditSubject: AuditSubject {
        AuditSubject(
            principal: login.principal, address: peer.remoteAddress, port: peer.remotePort, wire: "kafka",
            listener: peer.listenerName, clientId: clientId)
    }
}
