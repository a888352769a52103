// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: loads gRPC's Subscribe.
//
// Each connection reads the whole topic from the start of the log to its end, over and over: a
// stream that ends well is followed by another one; or it follows what is written meanwhile. Records are counted and their offsets compared,
// nothing else is decoded.

import Contract
import GRPCWire
import HTTP2
import NIOCore
import SwiftProtobuf

/// Makes Subscribe calls.
struct SubscribeLoad: LoadDriver {
    let dialer: Dialer
    let options: LoadOptions
    let body: ByteBuffer

    init(dialer: Dialer, options: LoadOptions) throws(ClientError) {
        self.dialer = dialer
        self.options = options
        var selection = Martlet_V1_TopicSelection()
        selection.topic = options.topic
        var request = Martlet_V1_SubscribeRequest()
        request.topics = [selection]
        request.origin = options.follows ? .latest : .earliest
        request.untilEnd = !options.follows
        request.maxBytesPerMessage = UInt32(options.batchBytes)
        var body = ByteBuffer()
        do {
            let bytes: [UInt8] = try request.serializedBytes()
            body.writeMessage { $0.writeBytes(bytes) }
        } catch {
            throw ClientError(.invalidArgument, "the request cannot be encoded: \(error)")
        }
        self.body = body
    }

    func connect(
        _ index: Int, recorder: NIOLoopBound<LoadRecorder>, on loop: any EventLoop
    ) -> EventLoopFuture<NIOLoopBound<any LoadConnection>> {
        let ready = loop.makePromise(of: NIOLoopBound<any LoadConnection>.self)
        let endpoint = options.connection.endpoint
        dialer.dial(endpoint, on: loop, receiveBytes: 256 * 1024) { _ in
            let connection = SubscribeLoadConnection(
                load: self, recorder: recorder.value, ready: ready, loop: loop)
            return [
                HTTP2ClientHandler(
                    endpoint: endpoint, isSecure: options.connection.certificates != nil,
                    owner: connection)
            ]
        }.whenFailure { ready.fail($0) }
        return ready.futureResult
    }
}

/// One connection of a Subscribe load, and its one call; owned by its loop.
final class SubscribeLoadConnection: LoadConnection, HTTP2ClientOwner, HTTP2StreamHandler {
    private let load: SubscribeLoad
    private let recorder: LoadRecorder
    private let ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>
    private let loop: any EventLoop
    private var handler: HTTP2ClientHandler?
    private var body = GRPCResponseBody()
    private var counter = SubscribeCounter()
    private var stream: HTTP2Stream?
    private var failure: ClientError?
    private var hasStatus = false
    /// Whether the stream that runs has brought anything.
    private var isProductive = false

    init(
        load: SubscribeLoad, recorder: LoadRecorder,
        ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>, loop: any EventLoop
    ) {
        self.load = load
        self.recorder = recorder
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
        recorder.fail(error)
    }

    func start() {
        begin()
        handler?.flush()
    }

    func stop() {
        stream?.reset(.cancel)
        handler?.flush()
    }

    private func begin() {
        guard recorder.mayGoOn, let handler else { return }
        body = GRPCResponseBody()
        counter.restart()
        failure = nil
        hasStatus = false
        isProductive = false
        stream = handler.session.request(
            handler.headers(path: GRPCClient.subscribePath), handler: self)
        guard let stream else {
            return connectionFailed(
                ClientError(.connection, "\(handler.endpoint) takes no more calls: it is stopping"))
        }
        stream.outbound.writeImmutableBuffer(load.body)
        stream.finish()
    }

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        guard endOfStream || fields.contains(.grpcStatus) else { return }
        hasStatus = true
        failure = GRPCOutcome.failure(in: fields)
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) {
        body.append(data)
        do throws(ClientError) {
            while let message = try body.next() {
                isProductive = true
                let gaps = counter.gaps
                let records = try counter.count(message)
                recorder.missed(counter.gaps - gaps)
                guard recorder.received(records: records, bytes: message.readableBytes) else {
                    return stream.reset(.cancel)
                }
            }
        } catch {
            recorder.fail(error)
            stream.reset(.cancel)
        }
    }

    func receivedEnd(on stream: HTTP2Stream) {}

    func produce(room: Int, on stream: HTTP2Stream) {}

    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) {
        self.stream = nil
        guard recorder.mayGoOn else { return }
        if let failure { return recorder.fail(failure) }
        guard hasStatus else {
            return recorder.fail(
                ClientError(
                    .connection, "the stream ended without a status (HTTP/2 \(code.rawValue))"))
        }
        guard isProductive else {
            let topic = load.options.topic
            return recorder.fail(
                ClientError(
                    .invalidArgument,
                    "topic '\(topic)' is empty: run 'martlet bench produce' on it first"))
        }
        begin()
    }
}
