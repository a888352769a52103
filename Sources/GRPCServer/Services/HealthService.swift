// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: grpc.health.v1.Health.
//
// Methods: Check, List, Watch.
// Behaviour: the broker as a whole (the empty name) and each of its services serve until it drains. Answers carry the
// header `martlet-durability`: what an acknowledgement promises; and, while something is about to go wrong (certificates that
// expire soon), `martlet-warning`.

import Contract
import Engine
import GRPCWire
import HTTP2
import SwiftProtobuf

struct HealthService: Sendable {
    static let name = "grpc.health.v1.Health"

    let health: HealthRegistry
    private let durability: String
    private let calmFields: HTTP2FieldList

    init(health: HealthRegistry, durability: Durability) {
        self.health = health
        self.durability = durability.rawValue
        calmFields = HTTP2FieldList(GRPCFields.headerFields + [("martlet-durability", durability.rawValue)])
    }

    private var fields: HTTP2FieldList {
        guard let warning = health.warning else { return calmFields }
        return HTTP2FieldList(
            GRPCFields.headerFields + [("martlet-durability", durability), ("martlet-warning", warning)])
    }

    var methods: [GRPCMethod] {
        [
            GRPCMethod(Self.name, "Check") { (request: Grpc_Health_V1_HealthCheckRequest, call) throws(GRPCStatus) in
                guard knows(request.service) else {
                    throw GRPCStatus(
                        .notFound, "UNKNOWN_SERVICE", [("service", request.service)],
                        "there is no service \(request.service); Health.List names those that there are")
                }
                call.respond(Self.answer(health.isServing), fields: fields)
            },
            GRPCMethod(Self.name, "List") { (_: Grpc_Health_V1_HealthListRequest, call) in
                let answer = Self.answer(health.isServing)
                call.respond(
                    Grpc_Health_V1_HealthListResponse.with {
                        for service in [""] + health.services { $0.statuses[service] = answer }
                    }, fields: fields)
            },
            GRPCMethod(Self.name, "Watch", .serverStreaming) {
                (request: Grpc_Health_V1_HealthCheckRequest, call) throws(GRPCStatus) in
                try watch(request.service, call)
            },
        ]
    }

    private func watch(_ service: String, _ call: GRPCCall) throws(GRPCStatus) {
        guard knows(service) else {
            return call.send(Grpc_Health_V1_HealthCheckResponse.with { $0.status = .serviceUnknown }, fields: fields)
        }
        let watcher = health.watch(on: call.loop) { isServing in call.send(Self.answer(isServing)) }
        guard let watcher else {
            throw GRPCStatus(
                .resourceExhausted, "LIMIT_REACHED", [("limit", "\(Limits.healthWatchers)")], retryMs: 1000,
                "there are \(Limits.healthWatchers) health watchers already; ask by Health.Check")
        }
        call.whenEnded { health.unwatch(watcher.id) }
        call.send(Self.answer(watcher.isServing), fields: fields)
    }

    private func knows(_ service: String) -> Bool { service.isEmpty || health.services.contains(service) }

    private static func answer(_ isServing: Bool) -> Grpc_Health_V1_HealthCheckResponse {
        .with { $0.status = isServing ? .serving : .notServing }
    }
}
