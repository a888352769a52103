// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: which methods there are, and which one a path means.
//
// Made once at start and never changed. A look-up compares bytes and makes no string.

import GRPCWire
import NIOCore

/// One method of a service.
struct GRPCMethod: Sendable {
    enum Kind: Sendable {
        /// One request, one answer.
        case unary
        /// One request, then a stream pulled from a source, or pushed.
        case serverStreaming
        /// Answers as requests come.
        case bidirectional
        /// Requests to and answers from a `GRPCSession`.
        case session
    }

    /// `/package.Service/Method`.
    let path: String
    let kind: Kind
    /// Called on the connection's loop with each request message, which it may keep. It answers through the call.
    let handle: @Sendable (GRPCCall, ByteBuffer) -> Void
    /// For `Kind.session`: called when the call begins.
    let makeSession: (@Sendable (GRPCCall) -> any GRPCSession)?

    init(_ service: String, _ name: String, _ kind: Kind, handle: @escaping @Sendable (GRPCCall, ByteBuffer) -> Void) {
        path = "/\(service)/\(name)"
        self.kind = kind
        self.handle = handle
        makeSession = nil
    }

    init(_ service: String, _ name: String, session: @escaping @Sendable (GRPCCall) -> any GRPCSession) {
        path = "/\(service)/\(name)"
        kind = .session
        handle = { _, _ in preconditionFailure("a session takes its requests itself") }
        makeSession = session
    }
}

/// A method that was found.
final class GRPCRoute: Sendable {
    let method: GRPCMethod
    let metrics: MethodMetrics
    /// Anybody may ask how the broker is, as often as they like.
    let isHealth: Bool
    fileprivate let pathBytes: ByteBuffer

    fileprivate init(_ method: GRPCMethod, _ metrics: GRPCMetrics) {
        self.method = method
        self.metrics = metrics.method(method.path)
        isHealth = method.path.hasPrefix("/\(HealthService.name)/")
        pathBytes = ByteBuffer(string: method.path)
    }
}

struct GRPCRouter: Sendable {
    /// By the length of their paths: two methods seldom share one.
    private let routes: [[GRPCRoute]]

    init(_ methods: [GRPCMethod], metrics: GRPCMetrics) {
        var routes: [[GRPCRoute]] = []
        for method in methods {
            let route = GRPCRoute(method, metrics)
            let length = route.pathBytes.readableBytes
            while routes.count <= length { routes.append([]) }
            precondition(!routes[length].contains { $0.method.path == method.path }, "\(method.path) is there twice")
            routes[length].append(route)
        }
        self.routes = routes
    }

    var methods: [GRPCMethod] { routes.joined().map(\.method) }

    func route(_ path: ByteBuffer) -> GRPCRoute? {
        guard path.readableBytes < routes.count else { return nil }
        for route in routes[path.readableBytes] where route.pathBytes == path { return route }
        return nil
    }
}
