// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: loads gRPC's Publish.
//
// Every connection keeps so many unary calls open; each ends with its status and makes room for the
// next one. The request message is encoded once. Of an answer only the status is read.

import Contract
import FoundationEssentials
import GRPCWire
import HTTP2
import NIOCore
import SwiftProtobuf

/// Makes Publish calls.
struct PublishLoad: LoadDriver {
    let dialer: Dialer
    let options: LoadOptions
    /// The request message with its prefix.
    let body: ByteBuffer
    let recordsPerCall: Int

    init(dialer: Dialer, options: LoadOptions) throws(ClientError) {
        self.dialer = dialer
        self.options = options
        recordsPerCall = LoadPayload.recordsPerBatch(options)
        var request = Martlet_V1_PublishRequest()
        request.topic = options.topic
        for index in 0..<recordsPerCall {
            var record = Martlet_V1_PublishRecord()
            let value = LoadPayload.value(size: options.recordSize, seed: UInt64(index))
            record.value = .init(value.readableBytesView)
            request.records.append(record)
        }
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
        dialer.dial(options.connection.endpoint, on: loop) { _ in
            let connection = PublishLoadConnection(
                load: self, recorder: recorder.value, ready: ready, loop: loop)
            return [
                HTTP2ClientHandler(
                    endpoint: options.connection.endpoint,
                    isSecure: options.connection.certificates != nil, owner: connection)
            ]
        }.whenFailure { ready.fail($0) }
        return ready.futureResult
    }
}

/// One connection of a Publish load; owned by its loop.
final class PublishLoadConnection: LoadConnection, HTTP2ClientOwner {
    private let load: PublishLoad
    private let recorder: LoadRecorder
    private let ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>
    private let loop: any EventLoop
    private var handler: HTTP2ClientHandler?
    private var headers: HTTP2FieldList?

    init(
        load: PublishLoad, recorder: LoadRecorder,
        ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>, loop: any EventLoop
    ) {
        self.load = load
        self.recorder = recorder
        self.ready = ready
        self.loop = loop
    }

    func connectionReady(_ handler: HTTP2ClientHandler) {
        self.handler = handler
        // Permanent, so that the session does not copy the fields for each call; one list a
        // connection.
        headers = handler.headers(path: GRPCClient.publishPath, permanent: true)
        ready.succeed(NIOLoopBound(self, eventLoop: loop))
    }

    func connectionFailed(_ error: ClientError) {
        handler = nil
        ready.fail(error)
        recorder.fail(error)
    }

    func start() {
        for _ in 0..<load.options.inFlight { begin(PublishLoadCall(connection: self)) }
        handler?.flush()
    }

    func stop() {}

    /// Makes the next call, if there shall be one; what it sends is collected with the next flush.
    fileprivate func begin(_ call: PublishLoadCall) {
        guard recorder.mayGoOn, let handler, let headers else { return }
        call.restart(NIODeadline.now().uptimeNanoseconds)
        guard let stream = handler.session.request(headers, handler: call) else {
            return connectionFailed(
                ClientError(.connection, "\(handler.endpoint) takes no more calls: it is stopping"))
        }
        recorder.began(records: load.recordsPerCall)
        stream.outbound.writeImmutableBuffer(load.body)
        stream.finish()
    }

    fileprivate func ended(_ call: PublishLoadCall, _ failure: ClientError?) {
        if let failure { recorder.refused(failure.message) }
        let records = failure == nil ? load.recordsPerCall : 0
        recorder.ended(
            records: records, bytes: records * load.options.recordSize, startedNs: call.startedNs,
            nowNs: NIODeadline.now().uptimeNanoseconds)
        begin(call)
    }
}

/// One place for a call; used again and again.
private final class PublishLoadCall: HTTP2StreamHandler {
    private unowned let connection: PublishLoadConnection
    private(set) var startedNs: UInt64 = 0
    private var isAnswered = false
    private var failure: ClientError?

    init(connection: PublishLoadConnection) {
        self.connection = connection
    }

    func restart(_ nowNs: UInt64) {
        startedNs = nowNs
        isAnswered = false
        failure = nil
    }

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        guard endOfStream || fields.contains(.grpcStatus) else { return }
        isAnswered = true
        failure = GRPCOutcome.failure(in: fields)
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) {}

    func receivedEnd(on stream: HTTP2Stream) {}

    func produce(room: Int, on stream: HTTP2Stream) {}

    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) {
        if !isAnswered && failure == nil {
            failure = ClientError(
                .connection, "the call ended without a status (HTTP/2 \(code.rawValue))")
        }
        connection.ended(self, failure)
    }
}
