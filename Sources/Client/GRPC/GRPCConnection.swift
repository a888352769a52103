// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: one gRPC connection, for callers that may wait.
//
// Safe to use from any thread: state belongs to the loop. No deadlines of its own:
// `ConnectionOptions` bound how long a connection takes, and whoever waits decides how long.

import HTTP2
import NIOCore
import NIOPosix
import SwiftProtobuf

/// A connection on which calls are made.
package struct GRPCConnection: Sendable {
    /// One call that is under way.
    package struct Call: Sendable {
        fileprivate let bound: NIOLoopBound<GRPCCall>
        fileprivate let connection: NIOLoopBound<GRPCConnectionState>
        private let loop: any EventLoop

        fileprivate init(
            bound: NIOLoopBound<GRPCCall>, connection: NIOLoopBound<GRPCConnectionState>,
            loop: any EventLoop
        ) {
            self.bound = bound
            self.connection = connection
            self.loop = loop
        }

        /// The next message, decoded; nil after the last one.
        package func next<Response: Message>(
            _ type: Response.Type
        ) -> EventLoopFuture<Response?> {
            let promise = loop.makePromise(of: ByteBuffer?.self)
            loop.execute {
                bound.value.next(promise)
                // Taking a message may have given the peer room again.
                connection.value.handler?.flush()
            }
            return promise.futureResult.flatMapThrowing { bytes in
                guard let bytes else { return nil }
                do {
                    return try Response(serializedBytes: Array(bytes.readableBytesView))
                } catch {
                    throw ClientError(
                        .badAnswer, "the answer is no \(Response.protoMessageName): \(error)")
                }
            }
        }

        /// Sends a request of a call that takes many. Whoever sends bounds what is under way.
        package func send(_ request: some Message) throws(ClientError) {
            let body = try GRPCConnection.encoded(request)
            loop.execute {
                bound.value.send(body)
                connection.value.handler?.flush()
            }
        }

        /// There are no more requests.
        package func finish() {
            loop.execute {
                bound.value.finish()
                connection.value.handler?.flush()
            }
        }

        /// Does something after a while, unless it is cancelled before.
        package func later(_ delay: TimeAmount, _ body: @escaping @Sendable () -> Void) -> Scheduled<Void> {
            loop.scheduleTask(in: delay, body)
        }

        /// Ends the call.
        package func cancel() {
            loop.execute {
                bound.value.cancel()
                connection.value.handler?.flush()
            }
        }
    }

    private let endpoint: Endpoint
    private let channel: any Channel
    private let state: NIOLoopBound<GRPCConnectionState>

    /// Connects.
    static func connect(
        with dialer: Dialer, on loop: any EventLoop
    ) -> EventLoopFuture<GRPCConnection> {
        let options = dialer.options
        guard options.login == nil || options.isSecret else {
            return loop.makeFailedFuture(
                ClientError(.invalidArgument, "a password is sent to another machine over TLS only: add --tls or --ca"))
        }
        let ready = loop.makePromise(of: NIOLoopBound<GRPCConnectionState>.self)
        let dialed = dialer.dial(options.endpoint, on: loop) { _ in
            let state = GRPCConnectionState(ready: ready, loop: loop)
            return [
                HTTP2ClientHandler(
                    endpoint: options.endpoint, isSecure: options.certificates != nil,
                    authorization: options.authorization, owner: state)
            ]
        }
        dialed.whenFailure { ready.fail($0) }
        return dialed.and(ready.futureResult).map { channel, state in
            GRPCConnection(endpoint: options.endpoint, channel: channel, state: state)
        }
    }

    private static func encoded(_ request: some Message) throws(ClientError) -> ByteBuffer {
        do {
            let bytes: [UInt8] = try request.serializedBytes()
            return ByteBuffer(bytes: bytes)
        } catch {
            throw ClientError(.invalidArgument, "the request cannot be encoded: \(error)")
        }
    }

    /// Begins a call with one request message.
    package func call(
        _ path: String, _ request: some Message
    ) -> EventLoopFuture<Call> {
        do throws(ClientError) {
            return begin(path, try Self.encoded(request))
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
    }

    /// Begins a call that takes many requests.
    package func open(_ path: String) -> EventLoopFuture<Call> { begin(path, nil) }

    private func begin(_ path: String, _ body: ByteBuffer?) -> EventLoopFuture<Call> {
        let loop = channel.eventLoop
        return loop.submit { [endpoint, state] in
            guard let handler = state.value.handler else {
                throw ClientError(.connection, "the connection to \(endpoint) is closed")
            }
            let call = GRPCCall(endpoint: endpoint)
            guard let stream = handler.session.request(handler.headers(path: path), handler: call)
            else {
                throw ClientError(.connection, "\(endpoint) takes no more calls: it is stopping")
            }
            state.value.calls.append(call)
            if let body { call.begin(on: stream, request: body) } else { call.begin(on: stream) }
            handler.flush()
            return Call(
                bound: NIOLoopBound(call, eventLoop: loop), connection: state, loop: loop)
        }
    }

    package func close() {
        channel.close(promise: nil)
    }
}

/// What a connection's calls share; owned by its loop.
private final class GRPCConnectionState: HTTP2ClientOwner {
    private let ready: EventLoopPromise<NIOLoopBound<GRPCConnectionState>>
    private let loop: any EventLoop
    private(set) var handler: HTTP2ClientHandler?
    var calls: [GRPCCall] = []

    init(ready: EventLoopPromise<NIOLoopBound<GRPCConnectionState>>, loop: any EventLoop) {
        self.ready = ready
        self.loop = loop
    }

    func connectionReady(_ handler: HTTP2ClientHandler) {
        self.handler = handler
        ready.succeed(NIOLoopBound(self, eventLoop: loop))
    }

    func connectionFailed(_ error: ClientError) {
        handler = nil
        ready.fail(error)
        for call in calls { call.fail(error) }
        calls = []
    }
}
