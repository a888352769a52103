// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: loads gRPC's work queues.
//
// Every connection is one worker: it acknowledges what it is given, all of a message at once, and counts a job when its
// acknowledgement is confirmed.

import Contract
import GRPCWire
import HTTP2
import NIOCore
import SwiftProtobuf

struct WorkLoad: LoadDriver {
    let dialer: Dialer
    let options: LoadOptions
    /// The first request with its prefix.
    let open: ByteBuffer

    init(dialer: Dialer, options: LoadOptions) throws(ClientError) {
        self.dialer = dialer
        self.options = options
        let group = options.group.isEmpty ? "bench-\(UInt64.random(in: 0...UInt64.max))" : options.group
        open = try LoadPayload.framed(
            Martlet_V1_ReceiveRequest.with {
                $0.open.group = group
                $0.open.topics = [options.topic]
                $0.open.maxInFlight = UInt32(options.inFlight)
                $0.open.origin = .earliest
            })
    }

    func connect(
        _ index: Int, recorder: NIOLoopBound<LoadRecorder>, on loop: any EventLoop
    ) -> EventLoopFuture<NIOLoopBound<any LoadConnection>> {
        StreamLoadConnection.connect(dialer, options, recorder: recorder, on: loop) { WorkLane(self) }
    }
}

/// One worker; owned by its loop.
private final class WorkLane: StreamLoad {
    private let load: WorkLoad
    private weak var connection: StreamLoadConnection?
    private var stream: HTTP2Stream?

    init(_ load: WorkLoad) {
        self.load = load
    }

    func start(on connection: StreamLoadConnection) {
        self.connection = connection
        stream = connection.open(
            GRPCClient.receivePath, take: { [unowned self] (message) throws(ClientError) in try take(message) })
        stream?.outbound.writeImmutableBuffer(load.open)
    }

    func stop() { connection?.end(stream) }

    private func take(_ message: ByteBuffer) throws(ClientError) {
        // SAFETY: the pointer is used within the closure only.
        guard let answer = unsafe message.withUnsafeReadableBytes({ unsafe Answer($0) }) else {
            throw ClientError(.badAnswer, "a message is no ReceiveResponse")
        }
        guard let connection else { return }
        switch answer {
        case .items(let ids):
            guard connection.recorder.mayGoOn else { return }
            let ack = Martlet_V1_ReceiveRequest.with { $0.ack.deliveryIds = ids }
            stream?.outbound.writeImmutableBuffer(try LoadPayload.framed(ack))
            stream?.resume()
        case .confirmed(let count, let isDone):
            if !isDone { connection.recorder.refused("jobs were not held any more, or could not be confirmed") }
            let goesOn = connection.recorder.received(records: count, bytes: count * load.options.recordSize)
            if !goesOn { connection.end(stream) }
        case .other: break
        }
    }

    private enum Answer {
        case items([UInt64])
        case confirmed(Int, isDone: Bool)
        case other

        @unsafe init?(_ bytes: UnsafeRawBufferPointer) {
            var reader = unsafe WireReader(bytes)
            guard let kind = unsafe reader.next() else { return nil }
            var inner = unsafe WireReader(reader.content)
            switch kind {
            case 2:
                var ids: [UInt64] = []
                while let field = unsafe inner.next() {
                    guard field == 1 else { continue }
                    // Field 1 of an item, its id, comes first.
                    var item = unsafe WireReader(inner.content)
                    guard unsafe item.next() == 1 else { return nil }
                    unsafe ids.append(item.number)
                }
                self = .items(ids)
            case 3:
                var count = 0
                var result: UInt64 = 0
                while let field = unsafe inner.next() {
                    // Packed varints: each ends with the one byte below 0x80.
                    if field == 1 { count += unsafe inner.content.reduce(0) { $0 + ($1 < 0x80 ? 1 : 0) } }
                    if field == 2 { result = unsafe inner.number }
                }
                self = .confirmed(count, isDone: result == 1)
            default: self = .other
            }
        }
    }
}
