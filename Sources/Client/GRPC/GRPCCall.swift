// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: one gRPC call whose messages are taken one by one.
//
// Owned by its connection's loop. Messages wait in a short queue; while it is full the stream's
// window is not given back, so a slow reader holds little memory and the broker stops sending.

import GRPCWire
import HTTP2
import NIOCore

/// A call and what has come of it.
final class GRPCCall: HTTP2StreamHandler {
    private let endpoint: Endpoint
    private var body = GRPCResponseBody()
    private var messages = CircularBuffer<ByteBuffer>()
    private var waiter: EventLoopPromise<ByteBuffer?>?
    private var trailersFailure: ClientError?
    private var hasTrailers = false
    /// Set once the call is over.
    private var end: Result<Void, ClientError>?
    private weak var stream: HTTP2Stream?
    private static let messagesMax = 8

    init(endpoint: Endpoint) {
        self.endpoint = endpoint
    }

    func begin(on stream: HTTP2Stream, request: ByteBuffer) {
        self.stream = stream
        stream.outbound.writeMessage { $0.writeImmutableBuffer(request) }
        stream.finish()
    }

    /// Begins a call whose requests follow.
    func begin(on stream: HTTP2Stream) {
        self.stream = stream
    }

    func send(_ request: ByteBuffer) {
        stream?.outbound.writeMessage { $0.writeImmutableBuffer(request) }
        stream?.resume()
    }

    /// No more requests.
    func finish() {
        stream?.finish()
    }

    /// Keeps the promise with the next message; with nil after the last one, if the call ended
    /// well.
    func next(_ promise: EventLoopPromise<ByteBuffer?>) {
        precondition(waiter == nil, "one message is waited for at a time")
        waiter = promise
        serve()
    }

    func cancel() {
        stream?.reset(.cancel)
    }

    /// The connection ended.
    func fail(_ error: ClientError) {
        if end == nil { end = .failure(error) }
        serve()
    }

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        guard endOfStream || fields.contains(.grpcStatus) else { return }
        hasTrailers = true
        trailersFailure = GRPCOutcome.failure(in: fields)
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) {
        body.append(data)
        do throws(ClientError) {
            while let message = try body.next() { messages.append(message) }
        } catch {
            end = .failure(error)
            stream.reset(.cancel)
        }
        if messages.count >= Self.messagesMax { stream.isInboundHeld = true }
        serve()
    }

    func receivedEnd(on stream: HTTP2Stream) {}

    func produce(room: Int, on stream: HTTP2Stream) {}

    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) {
        if end == nil {
            if let trailersFailure {
                end = .failure(trailersFailure)
            } else if hasTrailers {
                end = .success(())
            } else {
                let reason = "\(endpoint) ended the call without a status (HTTP/2 \(code.rawValue))"
                end = .failure(ClientError(.connection, reason))
            }
        }
        serve()
    }

    private func serve() {
        guard let promise = waiter else { return }
        if let message = messages.popFirst() {
            waiter = nil
            if messages.isEmpty { stream?.isInboundHeld = false }
            return promise.succeed(message)
        }
        switch end {
        case .success:
            waiter = nil
            promise.succeed(nil)
        case .failure(let error):
            waiter = nil
            promise.fail(error)
        case nil: break
        }
    }
}
