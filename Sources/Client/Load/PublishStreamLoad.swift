// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: loads gRPC's PublishStream.
//
// Every connection has one call with so many requests under way; each result makes room for the next one. The request message is
// encoded once. Of a result only its presence and its error are read.

import Contract
import FoundationEssentials
import GRPCWire
import HTTP2
import NIOCore
import SwiftProtobuf

struct PublishStreamLoad: LoadDriver {
    let dialer: Dialer
    let options: LoadOptions
    /// The request message with its prefix.
    let body: ByteBuffer
    let recordsPerRequest: Int

    init(dialer: Dialer, options: LoadOptions) throws(ClientError) {
        self.dialer = dialer
        self.options = options
        recordsPerRequest = LoadPayload.recordsPerBatch(options)
        let values = (0..<recordsPerRequest).map { LoadPayload.value(size: options.recordSize, seed: UInt64($0)) }
        let request = Martlet_V1_PublishStreamRequest.with {
            $0.topic = options.topic
            $0.records = values.map { value in .with { $0.value = .init(value.readableBytesView) } }
        }
        body = try LoadPayload.framed(request)
    }

    func connect(
        _ index: Int, recorder: NIOLoopBound<LoadRecorder>, on loop: any EventLoop
    ) -> EventLoopFuture<NIOLoopBound<any LoadConnection>> {
        StreamLoadConnection.connect(dialer, options, recorder: recorder, on: loop) { PublishStreamLane(self) }
    }
}

/// One connection's call; owned by its loop.
private final class PublishStreamLane: StreamLoad {
    private let load: PublishStreamLoad
    private weak var connection: StreamLoadConnection?
    private var stream: HTTP2Stream?
    private var outstanding = 0
    /// When so many requests were sent, in order.
    private var sent = CircularBuffer<(count: Int, atNs: UInt64)>()
    private var ticker: RepeatedTask?
    /// With a rate: requests that may be sent.
    private var allowed = Int.max
    private static let tickMs: Int64 = 5

    init(_ load: PublishStreamLoad) {
        self.load = load
    }

    func start(on connection: StreamLoadConnection) {
        self.connection = connection
        stream = connection.open(
            GRPCClient.publishStreamPath, fill: { [unowned self] in fill($0, $1) },
            take: { [unowned self] (message) throws(ClientError) in try take(message) })
        guard load.options.rate > 0 else { return }
        allowed = 0
        let begun = NIODeadline.now()
        var given = 0
        let perSecond = Double(load.options.rate) / Double(load.recordsPerRequest)
        let tick = NIOLoopBound({ [unowned self] in
            let due = Int(Double((NIODeadline.now() - begun).nanoseconds) / 1e9 * perSecond)
            allowed += due - given
            given = due
            stream?.resume()
            self.connection?.flush()
        }, eventLoop: connection.loop)
        ticker = connection.loop.scheduleRepeatedTask(
            initialDelay: .milliseconds(Self.tickMs), delay: .milliseconds(Self.tickMs)
        ) { _ in tick.value() }
    }

    func stop() {
        ticker?.cancel()
        stream?.finish()
        connection?.end()
    }

    private func fill(_ room: Int, _ stream: HTTP2Stream) {
        guard let recorder = connection?.recorder else { return }
        let space = min(room, 64 << 10)
        var count = 0
        while recorder.mayGoOn, outstanding < load.options.inFlight, allowed > 0,
            count == 0 || stream.outbound.readableBytes < space {
            stream.outbound.writeImmutableBuffer(load.body)
            recorder.began(records: load.recordsPerRequest)
            outstanding += 1
            count += 1
            if allowed != .max { allowed -= 1 }
        }
        if count > 0 { sent.append((count, NIODeadline.now().uptimeNanoseconds)) }
    }

    private func take(_ message: ByteBuffer) throws(ClientError) {
        // SAFETY: the pointer is used within the closure only.
        let results = unsafe message.withUnsafeReadableBytes { bytes -> (count: Int, refused: Int)? in
            var reader = unsafe WireReader(bytes)
            var count = 0
            var refused = 0
            while let field = unsafe reader.next() {
                guard field == 1 else { continue }
                count += 1
                var result = unsafe WireReader(reader.content)
                while let part = unsafe result.next() { if part == 3 { refused += 1 } }
            }
            return unsafe reader.isAtEnd ? (count, refused) : nil
        }
        guard let results, results.count <= outstanding, let recorder = connection?.recorder else {
            throw ClientError(.badAnswer, "a message is no PublishStreamResponse, or has more results than requests")
        }
        for _ in 0..<results.refused { recorder.refused("a request of the stream was refused") }
        let nowNs = NIODeadline.now().uptimeNanoseconds
        outstanding -= results.count
        for _ in 0..<results.count {
            let startedNs = sent[sent.startIndex].atNs
            sent[sent.startIndex].count -= 1
            if sent[sent.startIndex].count == 0 { sent.removeFirst() }
            recorder.ended(
                records: load.recordsPerRequest, bytes: load.recordsPerRequest * load.options.recordSize,
                startedNs: startedNs, nowNs: nowNs)
        }
        stream?.resume()
    }
}
