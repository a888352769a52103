// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: from a request's header to its handler.
//
// One handler per API, each in a file of that name. What a request's client must be allowed is said and checked apart from
// them, in `Authorization`. Which versions are served is said by `ApiTable`; a test checks
// that every served API has its handler here and the other way round.

import Engine
import KafkaWire
import NIOCore
import Telemetry

/// Serves one API. The request is decoded; the handler answers `exchange` exactly once, now or later.
protocol KafkaHandler: SendableMetatype {
    associatedtype Request: AuthorizedRequest
    static func handle(_ request: Request, _ exchange: Exchange)
}

struct Router: Sendable {
    typealias Route = @Sendable (Exchange, inout ByteBuffer) throws(WireError) -> Void

    /// Every handler there is.
    static let handlers: [any KafkaHandler.Type] = [
        ProduceHandler.self,
        FetchHandler.self,
        ListOffsetsHandler.self,
        MetadataHandler.self,
        ApiVersionsHandler.self,
        CreateTopicsHandler.self,
        DeleteTopicsHandler.self,
        InitProducerIdHandler.self,
        DescribeClusterHandler.self,
        DescribeConfigsHandler.self,
        IncrementalAlterConfigsHandler.self,
        CreatePartitionsHandler.self,
        DeleteRecordsHandler.self,
        DescribeLogDirsHandler.self,
        OffsetForLeaderEpochHandler.self,
        FindCoordinatorHandler.self,
        JoinGroupHandler.self,
        SyncGroupHandler.self,
        HeartbeatHandler.self,
        LeaveGroupHandler.self,
        OffsetCommitHandler.self,
        OffsetFetchHandler.self,
        DescribeGroupsHandler.self,
        ConsumerGroupHeartbeatHandler.self,
        ConsumerGroupDescribeHandler.self,
        ListGroupsHandler.self,
        DeleteGroupsHandler.self,
        OffsetDeleteHandler.self,
        AddPartitionsToTxnHandler.self,
        AddOffsetsToTxnHandler.self,
        EndTxnHandler.self,
        TxnOffsetCommitHandler.self,
        WriteTxnMarkersHandler.self,
        DescribeProducersHandler.self,
        DescribeTransactionsHandler.self,
        ListTransactionsHandler.self,
        UpdateFeaturesHandler.self,
        SaslHandshakeHandler.self,
        SaslAuthenticateHandler.self,
        DescribeAclsHandler.self,
        CreateAclsHandler.self,
        DeleteAclsHandler.self,
        DescribeUserScramCredentialsHandler.self,
        AlterUserScramCredentialsHandler.self,
        AlterConfigsHandler.self,
        AlterReplicaLogDirsHandler.self,
        ElectLeadersHandler.self,
        AlterPartitionReassignmentsHandler.self,
        ListPartitionReassignmentsHandler.self,
        DescribeClientQuotasHandler.self,
        AlterClientQuotasHandler.self,
        DescribeQuorumHandler.self,
        GetTelemetrySubscriptionsHandler.self,
        PushTelemetryHandler.self,
        ListConfigResourcesHandler.self,
        DescribeTopicPartitionsHandler.self,
        ShareGroupHeartbeatHandler.self,
        ShareGroupDescribeHandler.self,
        ShareFetchHandler.self,
        ShareAcknowledgeHandler.self,
        DescribeShareGroupOffsetsHandler.self,
        AlterShareGroupOffsetsHandler.self,
        DeleteShareGroupOffsetsHandler.self,
    ]

    private let routes: [Route?]

    init() {
        var routes: [Route?] = []
        func add<Handler: KafkaHandler>(_ handler: Handler.Type) {
            let key = Int(Handler.Request.apiKey.rawValue)
            while routes.count <= key { routes.append(nil) }
            let isAudited = Handler.Request.self is any AuditedRequest.Type
            @Sendable func audited(_ request: Handler.Request, _ exchange: Exchange) -> Exchange {
                guard isAudited, exchange.engine.audit.isOn, let request = request as? any AuditedRequest else { return exchange }
                var exchange = exchange
                exchange.trail = request.trail(exchange)
                return exchange
            }
            routes[key] = { exchange, body throws(WireError) in
                let request = try Handler.Request(from: &body, version: exchange.version)
                guard exchange.isRestricted else { return Handler.handle(request, audited(request, exchange)) }
                let exchange = exchange.inquiring()
                exchange.decided {
                    // A copy, because this may have to be done again.
                    var request = request
                    let authorization = request.authorize(Rights(exchange))
                    return (request, authorization)
                } then: { request, authorization in
                    switch authorization {
                    case .granted: Handler.handle(request, audited(request, exchange))
                    case .amended(let amend):
                        Handler.handle(request, audited(request, exchange.amended(by: TypedAmendment(amend))))
                    case .refused(let response): exchange.reply(response)
                    case .closed(let cause): exchange.close(cause)
                    }
                }
            }
        }
        for handler in Self.handlers { add(handler) }
        self.routes = routes
    }

    /// Decodes and serves; throws if the bytes are no such request.
    func route(_ exchange: Exchange, _ body: inout ByteBuffer) throws(WireError) {
        guard let entry = ApiTable.entry(key: exchange.apiKey), entry.isServed,
            let route = routes[Int(exchange.apiKey)]
        else {
            let name = ApiKey(rawValue: exchange.apiKey).map(\.name) ?? "unknown"
            return exchange.close("API \(exchange.apiKey) (\(name)) is not served; see docs/kafka-support.md")
        }
        guard entry.served.contains(exchange.version) else {
            if entry.key == .apiVersions { return ApiVersionsHandler.refuseVersion(exchange) }
            return exchange.close(
                "\(entry.name) version \(exchange.version) is not served, "
                    + "\(entry.served.lowerBound) to \(entry.served.upperBound) are")
        }
        try route(exchange, &body)
    }
}
