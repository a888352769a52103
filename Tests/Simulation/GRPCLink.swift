// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: a gRPC client's connection: HTTP/2 in and out of the real `GRPCConnection`, without a socket.

import Bytes
import GRPCServer
import GRPCWire
import HTTP2
import NIOCore
import NIOEmbedded
import SwiftProtobuf

/// One call, as its client sees it.
final class GRPCLinkCall: HTTP2StreamHandler {
    private(set) var messages: [ByteBuffer] = []
    private(set) var status: Int?
    private(set) var text = ""
    private(set) var isClosed = false
    fileprivate(set) var stream: HTTP2Stream?
    private var deframer = MessageDeframer(messageBytesMax: 64 << 20)

    /// Takes the messages that have come.
    func take() -> [ByteBuffer] {
        defer { messages = [] }
        return messages
    }

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        guard let code = fields.string(.grpcStatus) else { return }
        status = Int(code)
        text = GRPCStatus.decodedMessage(fields.string(.grpcMessage) ?? "")
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) {
        deframer.append(data)
        while let message = try? deframer.next() { messages.append(message.bytes) }
        deframer.keep()
    }

    func receivedEnd(on stream: HTTP2Stream) {}
    func produce(room: Int, on stream: HTTP2Stream) {}
    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) { isClosed = true }
    func cancel() { if !isClosed { stream?.reset(.cancel) } }
}

final class GRPCLink: HTTP2SessionDelegate {
    private let channel: EmbeddedChannel
    private let session: HTTP2Session
    private let onBytes: (ByteBuffer) -> Void

    /// `windowBytes`: how much the broker may send on a stream before this client has read.
    init(
        _ broker: SimulatedBroker, server: GRPCServer? = nil, clock: any Clock, windowBytes: UInt32 = 1 << 20,
        onBytes: @escaping (ByteBuffer) -> Void
    ) throws {
        self.onBytes = onBytes
        var configuration = HTTP2Configuration()
        configuration.streamWindowBytes = windowBytes
        channel = EmbeddedChannel(loop: broker.loop)
        session = HTTP2Session(role: .client, configuration: configuration, clock: clock)
        session.delegate = self
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9092)).wait()
        try (server ?? broker.grpc).configure(channel, SimulatedBroker.peer)
        try flush()
    }

    var isOpen: Bool { channel.isActive }

    func receivedRequest(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {}
    func receivedSettings() {}
    func receivedGoAway(_ code: HTTP2ErrorCode, lastStreamId: Int32) {}
    func receivedPingAnswer() {}

    /// Makes a call with one request; nil if the connection takes none.
    func call(_ path: String, _ request: some SwiftProtobuf.Message) throws -> GRPCLinkCall? {
        guard let call = start(path) else { return nil }
        try write(request, on: call)
        call.stream?.finish()
        try flush()
        return call
    }

    /// Begins a call with requests to come; nil if the connection takes none.
    func open(_ path: String) throws -> GRPCLinkCall? {
        let call = start(path)
        try flush()
        return call
    }

    func send(_ request: some SwiftProtobuf.Message, on call: GRPCLinkCall) throws {
        guard !call.isClosed else { return }
        try write(request, on: call)
        try flush()
    }

    private func write(_ request: some SwiftProtobuf.Message, on call: GRPCLinkCall) throws {
        let bytes: [UInt8] = try request.serializedBytes()
        var framed = ByteBuffer()
        framed.writeMessage { $0.writeBytes(bytes) }
        call.stream?.outbound.writeImmutableBuffer(framed)
        call.stream?.resume()
    }

    private func start(_ path: String) -> GRPCLinkCall? {
        let call = GRPCLinkCall()
        let fields: [(name: String, value: String)] = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
            ("content-type", "application/grpc"), ("te", "trailers"),
        ]
        call.stream = session.request(HTTP2FieldList(fields), handler: call)
        return call.stream == nil ? nil : call
    }

    /// Sends what this side has to send.
    func flush() throws {
        var bytes = ByteBuffer()
        _ = try session.collect(into: &bytes, limit: 1 << 20)
        if bytes.readableBytes > 0, channel.isActive { _ = try? channel.writeInbound(bytes) }
    }

    /// Reads what has arrived, and answers what has to be answered.
    func poll() throws {
        while let part = try channel.readOutbound(as: ByteBuffer.self) {
            onBytes(part)
            try session.receive(part)
        }
        try flush()
    }

    func close() {
        if channel.isActive { channel.close(promise: nil) }
    }

    func discard() {
        session.connectionClosed()
        // Not `finish`: that cancels everything that is scheduled on the broker's loop.
        channel.close(promise: nil)
        channel.embeddedEventLoop.run()
    }
}
