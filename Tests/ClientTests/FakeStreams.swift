// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: the Streams service in a few dozen lines, behind a real socket on loopback.
//
// One thread. Publish counts; Subscribe sends prepared messages and a status. What a broker must do
// is tested elsewhere.

import Bytes
import Contract
import GRPCWire
import HTTP2
import NIOCore
import NIOPosix
import SwiftProtobuf
import Synchronization

@testable import Client

final class FakeStreams: Sendable {
    struct State {
        var published = 0
        var subscriptions = 0
        /// What Subscribe sends.
        var messages: [ByteBuffer] = []
        /// The status of every call.
        var status = "0"
        var message = ""
        var lastSubscribe = Martlet_V1_SubscribeRequest()
    }

    let state = Mutex(State())
    let port: Int
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let channel: any Channel

    var endpoint: Endpoint { Endpoint(host: "127.0.0.1", port: port) }

    init() throws {
        let service = NIOLoopBoundBox<FakeStreams?>.makeEmptyBox(eventLoop: group.next())
        channel = try ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let service = service.value else { return }
                    try channel.pipeline.syncOperations.addHandler(FakeStreamsConnection(service))
                }
            }
            .bind(host: "127.0.0.1", port: 0).wait()
        port = channel.localAddress?.port ?? 0
        let made = self
        try group.next().submit { service.value = made }.wait()
    }

    func stop() throws {
        try channel.close().wait()
        try group.syncShutdownGracefully()
    }
}

private final class FakeStreamsConnection: ChannelInboundHandler, HTTP2SessionDelegate {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let service: FakeStreams
    private let session = HTTP2Session(role: .server, clock: SystemClock())

    init(_ service: FakeStreams) {
        self.service = service
        session.delegate = self
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do {
            try session.receive(unwrapInboundIn(data))
        } catch {
            context.close(promise: nil)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) { send(context) }

    func channelWritabilityChanged(context: ChannelHandlerContext) { send(context) }

    func channelInactive(context: ChannelHandlerContext) { session.connectionClosed() }

    private func send(_ context: ChannelHandlerContext) {
        var isMore = true
        while isMore && context.channel.isWritable {
            var buffer = ByteBuffer()
            isMore = (try? session.collect(into: &buffer, limit: 65_536)) ?? false
            guard buffer.readableBytes > 0 else { break }
            context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        }
    }

    func receivedRequest(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        let isPublish = fields.matches(.path, "/martlet.v1.Streams/Publish")
        stream.handler = FakeStreamsCall(service, isPublish: isPublish)
    }

    func receivedSettings() {}
    func receivedGoAway(_ code: HTTP2ErrorCode, lastStreamId: Int32) {}
    func receivedPingAnswer() {}
}

private final class FakeStreamsCall: HTTP2StreamHandler {
    private let service: FakeStreams
    private let isPublish: Bool
    private var requestBody = GRPCResponseBody()
    private var toSend: [ByteBuffer] = []
    private var status = "0"
    private var message = ""

    init(_ service: FakeStreams, isPublish: Bool) {
        self.service = service
        self.isPublish = isPublish
    }

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {}

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) { requestBody.append(data) }

    func receivedEnd(on stream: HTTP2Stream) {
        let request = (try? requestBody.next()).flatMap { $0 } ?? ByteBuffer()
        let bytes = Array(request.readableBytesView)
        service.state.withLock { state in
            status = state.status
            message = state.message
            if isPublish {
                let published = try? Martlet_V1_PublishRequest(serializedBytes: bytes)
                state.published += published?.records.count ?? 0
                toSend = [ByteBuffer()]
            } else {
                state.subscriptions += 1
                state.lastSubscribe =
                    (try? Martlet_V1_SubscribeRequest(serializedBytes: bytes))
                    ?? state.lastSubscribe
                toSend = state.messages
            }
        }
        let headers = [
            (name: ":status", value: "200"), (name: "content-type", value: "application/grpc"),
        ]
        stream.respond(HTTP2FieldList(headers))
    }

    func produce(room: Int, on stream: HTTP2Stream) {
        if status == "0", !toSend.isEmpty {
            let message = toSend.removeFirst()
            stream.outbound.writeMessage { $0.writeImmutableBuffer(message) }
        }
        guard status != "0" || toSend.isEmpty else { return }
        let trailers = [
            (name: "grpc-status", value: status), (name: "grpc-message", value: message),
        ]
        stream.finish(trailers: HTTP2FieldList(trailers))
    }

    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) {}
}
