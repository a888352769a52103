// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the gRPC edge: what all its connections share.

import Engine
import HTTP2
import Logging
import NIOCore
import Synchronization
import Telemetry
import Transport

package final class GRPCServer: Sendable {
    package let health: HealthRegistry
    let engine: Engine
    let logger: Logger
    let metrics: GRPCMetrics
    let router: GRPCRouter
    let http2: HTTP2Configuration
    /// What unfinished requests of all connections, of both protocols, hold.
    let memory: RequestMemory
    /// After how long a connection without streams is closed (`connections.max.idle.ms`).
    let maxIdle: TimeAmount
    let publishing: PublishGatherers
    let compressors = AnswerCompressors()
    private let webOptions: Mutex<WebOptions>
    let logins: ByListener<GRPCLogins>
    /// Where records without key and partition go that come over HTTP/1.1, where connections are many and short.
    let unkeyed = Atomic<UInt32>(0)

    package convenience init(
        engine: Engine, memory: RequestMemory = RequestMemory(limit: .max), metrics: Metrics, logger: Logger,
        http2: HTTP2Configuration = HTTP2Configuration(), web: WebOptions = WebOptions(),
        logins: ByListener<GRPCLogins> = ByListener(GRPCLogins()),
        gatheredBatchBytes: Int = Limits.gatheredBatchBytes, maxIdleMs: Int64 = 600_000
    ) {
        self.init(
            engine: engine, memory: memory, metrics: metrics, logger: logger, http2: http2, web: web,
            logins: logins, gatheredBatchBytes: gatheredBatchBytes, maxIdleMs: maxIdleMs, adding: [])
    }

    /// With methods that a test adds.
    init(
        engine: Engine, memory: RequestMemory = RequestMemory(limit: .max), metrics: Metrics, logger: Logger,
        http2: HTTP2Configuration, web: WebOptions = WebOptions(),
        logins: ByListener<GRPCLogins> = ByListener(GRPCLogins()),
        gatheredBatchBytes: Int = Limits.gatheredBatchBytes, maxIdleMs: Int64 = 600_000, adding methods: [GRPCMethod]
    ) {
        self.memory = memory
        webOptions = Mutex(web)
        maxIdle = .milliseconds(maxIdleMs)
        self.logins = logins
        self.engine = engine
        publishing = PublishGatherers(engine: engine, batchBytesMax: gatheredBatchBytes)
        self.logger = logger
        self.http2 = http2
        self.metrics = GRPCMetrics(metrics)
        health = HealthRegistry(services: [StreamsService.name, AdminService.name, WorkService.name])
        let reflected = [StreamsService.name, AdminService.name, WorkService.name, HealthService.name] + ReflectionService.names
        router = GRPCRouter(
            StreamsService(engine: engine).methods + AdminService(engine: engine).methods
                + WorkService(engine: engine).methods
                + HealthService(health: health, durability: engine.configuration.durability).methods
                + ReflectionService(services: reflected).methods + methods,
            metrics: self.metrics)
    }

    /// Which web pages may use the broker now.
    var web: WebOptions { webOptions.withLock { $0 } }

    package func use(_ web: WebOptions) { webOptions.withLock { $0 = web } }

    /// Takes the requests of browsers and curl over HTTP/1.1, and leaves all others.
    package var taker: HTTPTaker {
        { head, peer, loop, exchange in HTTPWebSink.take(self, head, peer, loop, exchange) }
    }

    /// Makes an HTTP/2 connection of the channel (Transport's `ProtocolHandlers.http2`).
    package func configure(_ channel: any Channel, _ peer: ConnectionContext) throws {
        try channel.pipeline.syncOperations.addHandler(
            GRPCConnection(server: self, peer: peer, loop: channel.eventLoop))
    }
}
