// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: one connection of a load whose calls last as long as the run.
//
// Owned by its loop. Holds the HTTP/2 connection and opens calls on it; what is sent on them, and what is made of the
// answers, is the business of the load. A call that ends before the run does fails the run.

import GRPCWire
import HTTP2
import NIOCore

/// What is sent on a connection, and what comes of it.
protocol StreamLoad: AnyObject {
    /// The run begins: open calls.
    func start(on connection: StreamLoadConnection)
    /// The run is over; answers that are on their way still count.
    func stop()
}

final class StreamLoadConnection: LoadConnection, HTTP2ClientOwner {
    let recorder: LoadRecorder
    let loop: any EventLoop
    private let load: any StreamLoad
    private let ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>
    private(set) var handler: HTTP2ClientHandler?
    private var calls: [StreamLoadCall] = []
    private var isOver = false

    private init(
        _ load: any StreamLoad, recorder: LoadRecorder, ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>,
        loop: any EventLoop
    ) {
        self.load = load
        self.recorder = recorder
        self.ready = ready
        self.loop = loop
    }

    /// Dials; the future is kept when calls can be opened.
    static func connect(
        _ dialer: Dialer, _ options: LoadOptions, recorder: NIOLoopBound<LoadRecorder>, on loop: any EventLoop,
        load: @escaping @Sendable () -> any StreamLoad
    ) -> EventLoopFuture<NIOLoopBound<any LoadConnection>> {
        let ready = loop.makePromise(of: NIOLoopBound<any LoadConnection>.self)
        let endpoint = options.connection.endpoint
        dialer.dial(endpoint, on: loop, receiveBytes: 256 * 1024) { _ in
            let connection = StreamLoadConnection(load(), recorder: recorder.value, ready: ready, loop: loop)
            return [
                HTTP2ClientHandler(
                    endpoint: endpoint, isSecure: options.connection.certificates != nil, owner: connection)
            ]
        }.whenFailure { ready.fail($0) }
        return ready.futureResult
    }

    func connectionReady(_ handler: HTTP2ClientHandler) {
        self.handler = handler
        ready.succeed(NIOLoopBound(self, eventLoop: loop))
    }

    func connectionFailed(_ error: ClientError) {
        handler = nil
        ready.fail(error)
        recorder.fail(error)
    }

    func start() {
        load.start(on: self)
        handler?.flush()
    }

    func stop() {
        load.stop()
        handler?.flush()
    }

    /// Opens a call. `fill` is asked for more to send whenever there is room for about so many bytes; `take` gets each message.
    func open(
        _ path: String, fill: @escaping (Int, HTTP2Stream) -> Void = { _, _ in },
        take: @escaping (ByteBuffer) throws(ClientError) -> Void
    ) -> HTTP2Stream? {
        guard let handler else { return nil }
        let call = StreamLoadCall(self, fill: fill, take: take)
        calls.append(call)
        return handler.session.request(handler.headers(path: path), handler: call)
    }

    /// Sends what was written outside of `fill`.
    func flush() { handler?.flush() }

    /// Ends all calls; what they say from now on is not heard.
    func end(_ streams: HTTP2Stream?...) {
        isOver = true
        for stream in streams { stream?.reset(.cancel) }
    }

    fileprivate func ended(_ failure: ClientError) {
        if !isOver { recorder.fail(failure) }
    }
}

private final class StreamLoadCall: HTTP2StreamHandler {
    private unowned let connection: StreamLoadConnection
    private let fill: (Int, HTTP2Stream) -> Void
    private let take: (ByteBuffer) throws(ClientError) -> Void
    private var body = GRPCResponseBody()
    private var failure: ClientError?

    init(
        _ connection: StreamLoadConnection, fill: @escaping (Int, HTTP2Stream) -> Void,
        take: @escaping (ByteBuffer) throws(ClientError) -> Void
    ) {
        self.connection = connection
        self.fill = fill
        self.take = take
    }

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        guard endOfStream || fields.contains(.grpcStatus) else { return }
        failure = GRPCOutcome.failure(in: fields)
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) {
        body.append(data)
        do throws(ClientError) {
            while let message = try body.next() { try take(message) }
        } catch {
            connection.ended(error)
            stream.reset(.cancel)
        }
    }

    func receivedEnd(on stream: HTTP2Stream) {}
    func produce(room: Int, on stream: HTTP2Stream) { fill(room, stream) }

    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) {
        connection.ended(
            failure ?? ClientError(.connection, "the call ended before the run did (HTTP/2 \(code.rawValue))"))
    }
}
