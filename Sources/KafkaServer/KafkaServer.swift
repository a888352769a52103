// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the Kafka edge: what all its connections share.

import Engine
import Logging
import NIOCore
import Telemetry
import Transport

package final class KafkaServer: Sendable {
    /// What clients are told to connect to, instead of the address they used.
    package struct Advertised: Sendable {
        package var host: String
        package var port: Int

        package init(host: String, port: Int) {
            self.host = host
            self.port = port
        }
    }

    let engine: Engine
    let advertised: Advertised?
    let logger: Logger
    let metrics: KafkaMetrics
    let router = Router()
    let memory: RequestMemory
    let logins: ByListener<LoginConfiguration>
    let telemetry: ClientTelemetry
    /// After how long a connection without requests is closed (`connections.max.idle.ms`).
    let maxIdleMs: Int64

    package init(
        engine: Engine, advertised: Advertised?, memory: RequestMemory = RequestMemory(limit: .max),
        logins: ByListener<LoginConfiguration> = ByListener(LoginConfiguration()), maxIdleMs: Int64 = 600_000,
        metrics: Metrics, logger: Logger
    ) {
        self.memory = memory
        self.logins = logins
        self.maxIdleMs = maxIdleMs
        self.engine = engine
        self.advertised = advertised
        self.logger = logger
        self.metrics = KafkaMetrics(metrics)
        telemetry = ClientTelemetry(configurations: engine.configurations, metrics: metrics)
    }

    /// Makes a Kafka connection of the channel (Transport's `ProtocolHandlers.kafka`).
    package func configure(_ channel: any Channel, _ peer: ConnectionContext) throws {
        try channel.pipeline.syncOperations.addHandler(
            KafkaConnection(server: self, peer: peer, loop: channel.eventLoop))
    }
}
