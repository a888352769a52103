// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: a Kafka client's connection: frames in and out of the real `KafkaConnection`, without a socket.

import KafkaServer
import KafkaWire
import NIOCore
import NIOEmbedded

final class KafkaLink {
    private let channel: EmbeddedChannel
    private var nextId: Int32 = 1
    private var received = ByteBuffer()
    /// In the order of the requests, which is the order of the answers. An answer of nil: the connection is gone.
    private var waiting: [(id: Int32, body: (ByteBuffer?) throws -> Void)] = []
    private let onBytes: (ByteBuffer) -> Void

    init(_ broker: SimulatedBroker, onBytes: @escaping (ByteBuffer) -> Void) throws {
        self.onBytes = onBytes
        channel = EmbeddedChannel(loop: broker.loop)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9092)).wait()
        try broker.kafka.configure(channel, SimulatedBroker.peer)
    }

    var isOpen: Bool { channel.isActive }
    var outstanding: Int { waiting.count }

    /// Sends a request; `answer` runs when the response is read, with nil when it will never come.
    func send<Request: KafkaRequest>(
        _ request: Request, version: Int16, answer: @escaping (Request.Response?) -> Void
    ) throws {
        let id = nextId
        nextId += 1
        var bytes = ByteBuffer()
        try Frame.write(request, version: version, correlationId: id, clientId: "simulation", into: &bytes)
        waiting.append(
            (
                id,
                { frame in
                    guard var frame else { return answer(nil) }
                    _ = try ResponseHeader(from: &frame, to: Request.apiKey, version: version)
                    answer(try Request.Response(from: &frame, version: version))
                }
            ))
        write(bytes)
    }

    /// A connection that fails, say because the disk does in the middle of an answer, is closed by the broker.
    private func write(_ bytes: ByteBuffer) {
        if channel.isActive { _ = try? channel.writeInbound(bytes) }
    }

    /// Sends a request that has no answer (acks=0).
    func sendAndForget(_ request: some KafkaRequest, version: Int16) throws {
        var bytes = ByteBuffer()
        try Frame.write(request, version: version, correlationId: nextId, clientId: "simulation", into: &bytes)
        nextId += 1
        write(bytes)
    }

    /// Reads what has arrived and passes it on.
    func poll() throws {
        try? channel.throwIfErrorCaught()
        while let part = try channel.readOutbound(as: IOData.self) {
            guard case .byteBuffer(var bytes) = part else { continue }
            received.writeBuffer(&bytes)
        }
        while let length = received.getInteger(at: received.readerIndex, as: Int32.self),
            received.readableBytes >= 4 + Int(length)
        {
            received.moveReaderIndex(forwardBy: 4)
            guard let frame = received.readSlice(length: Int(length)) else { return }
            onBytes(frame)
            guard let next = waiting.first,
                frame.getInteger(at: frame.readerIndex, as: Int32.self) == next.id
            else {
                throw Violation(invariant: "answers come in the order of requests", detail: "correlation id")
            }
            waiting.removeFirst()
            try next.body(frame)
        }
        if !channel.isActive { try abandon() }
    }

    /// Closes the connection from this side.
    func close() {
        if channel.isActive { channel.close(promise: nil) }
    }

    /// Nothing more will come: everybody who waits is told.
    func abandon() throws {
        let lost = waiting
        waiting = []
        for each in lost { try each.body(nil) }
    }

    /// Lets the channel go.
    func discard() {
        // Not `finish`: that cancels everything that is scheduled on the broker's loop.
        channel.close(promise: nil)
        channel.embeddedEventLoop.run()
    }
}
