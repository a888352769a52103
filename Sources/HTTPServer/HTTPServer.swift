// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTPServer: the HTTP/1.1 edge: is the broker alive, is it ready, what does it count.
//
// Sets up one connection's handlers; everything it knows about the broker it is given as closures. It serves what
// operators and probes read and changes nothing. Pages that may take a moment to put together are built off
// the event loop, so that a scrape does not delay the records that share the loop.

import Logging
import NIOCore
import NIOHTTP1
import Telemetry
import Transport

/// The bounds of the HTTP edge.
package struct HTTPLimits: Sendable {
    /// One header field, name and value; the request line too.
    package var headerFieldBytesMax = 8 * 1024
    package var headerBytesMax = 32 * 1024
    package var headerCountMax = 100
    /// No page takes a body; one this small is read and ignored, a larger one is refused.
    package var bodyBytesMax = 64 * 1024
    /// From a request's beginning until it is complete.
    package var requestTimeout: TimeAmount = .seconds(60)
    /// The same for the first request of a connection.
    package var firstRequestTimeout: TimeAmount = .seconds(10)
    /// From an answer until the next request begins; no longer than `requestTimeout`.
    package let idleTimeout: TimeAmount

    package init(idleTimeout: TimeAmount = .seconds(60)) {
        self.idleTimeout = min(idleTimeout, requestTimeout)
    }
}

/// Answers HTTP/1.1 connections.
package struct HTTPServer: Sendable {
    /// Runs a closure somewhere else than on an event loop.
    package typealias Offload = @Sendable (@escaping @Sendable () -> Void) -> Void

    private let pages: HTTPPages
    private let limits: HTTPLimits
    private let logger: Logger
    private let requests: MetricFamily<Counter>
    private let taker: HTTPTaker?
    private let gate: HTTPGate?

    /// `taker` is asked first who answers a request, `gate` whether a page may be read that names what is stored here.
    package init(
        version: String, metrics: Metrics, logger: Logger, limits: HTTPLimits = HTTPLimits(),
        taker: HTTPTaker? = nil, gate: HTTPGate? = nil, readiness: @escaping @Sendable () -> Readiness, offload: @escaping Offload
    ) {
        self.taker = taker
        self.gate = gate
        self.limits = limits
        self.logger = logger
        requests = metrics.counters(
            "martlet_http_requests_total", "HTTP requests answered, by page and status.", labels: ["page", "status"])
        pages = HTTPPages(version: version, metrics: metrics, readiness: readiness, offload: offload)
    }

    /// Adds this edge's handlers to a connection that speaks HTTP/1.1.
    package func configure(_ channel: any Channel, _ connection: ConnectionContext) throws {
        var bounds = NIOHTTPDecoderLimitConfiguration()
        bounds.maxHeaderFieldSize = limits.headerFieldBytesMax
        bounds.maxHeaderListSize = limits.headerBytesMax
        bounds.maxHeaderFieldCount = limits.headerCountMax
        let decoder = HTTPRequestDecoder(limitConfiguration: bounds)
        // The pipeline handler gives one request at a time to the handler after it, however many the client sent.
        try channel.pipeline.syncOperations.addHandlers(
            HTTPResponseEncoder(), ByteToMessageHandler(decoder), HTTPServerPipelineHandler(),
            HTTPConnectionHandler(
                pages: pages, limits: limits, requests: requests, taker: taker, gate: gate, connection: connection, logger: logger))
    }
}
