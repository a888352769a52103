// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: measures how long a record takes from a publisher to a subscriber, at a steady rate.
//
// One connection with two calls: a PublishStream with one record a request, which holds the time at which it was written, and
// a Subscribe of the topic. For comparison the same is done with a call that is answered at once, and with nothing stored:
// server reflection, a stream in both directions.

import Contract
import FoundationEssentials
import GRPCWire
import HTTP2
import NIOCore
import SwiftProtobuf

struct LatencyLoad: LoadDriver {
    let dialer: Dialer
    let options: LoadOptions
    let isEcho: Bool

    init(dialer: Dialer, options: LoadOptions, isEcho: Bool) throws(ClientError) {
        self.dialer = dialer
        self.options = options
        self.isEcho = isEcho
    }

    func connect(
        _ index: Int, recorder: NIOLoopBound<LoadRecorder>, on loop: any EventLoop
    ) -> EventLoopFuture<NIOLoopBound<any LoadConnection>> {
        StreamLoadConnection.connect(dialer, options, recorder: recorder, on: loop) { LatencyLane(self) }
    }
}

private final class LatencyLane: StreamLoad {
    private let load: LatencyLoad
    private weak var connection: StreamLoadConnection?
    private var publisher: HTTP2Stream?
    private var subscriber: HTTP2Stream?
    private var ticker: RepeatedTask?
    private var echoes = CircularBuffer<UInt64>()

    init(_ load: LatencyLoad) {
        self.load = load
    }

    func start(on connection: StreamLoadConnection) {
        self.connection = connection
        if load.isEcho {
            publisher = connection.open(
                GRPCClient.reflectionPath, take: { [unowned self] (_) throws(ClientError) in
                    guard let sentNs = echoes.popFirst() else { throw ClientError(.badAnswer, "an answer without a request") }
                    seen(sentNs)
                })
            return beginTicking()
        }
        // Whoever has the headers, or a first progress message, is subscribed.
        subscriber = connection.open(
            GRPCClient.subscribePath, take: { [unowned self] (message) throws(ClientError) in try take(message) })
        let request = Martlet_V1_SubscribeRequest.with {
            $0.topics = [.with { $0.topic = load.options.topic }]
            $0.origin = .latest
            $0.progressIntervalMs = 3_600_000
        }
        guard let body = try? LoadPayload.framed(request) else { return }
        subscriber?.outbound.writeImmutableBuffer(body)
        subscriber?.finish()
        publisher = connection.open(GRPCClient.publishStreamPath, take: { (_) throws(ClientError) in })
    }

    private func beginTicking() {
        guard let connection, ticker == nil else { return }
        let interval = TimeAmount.nanoseconds(1_000_000_000 / Int64(load.options.rate))
        let begun = NIODeadline.now()
        var sent: Int64 = 0
        // A loop that wakes up late sends what is due, one record after the other.
        let tick = NIOLoopBound({ [unowned self] in
            let due = (NIODeadline.now() - begun).nanoseconds / interval.nanoseconds
            while sent < due {
                sent += 1
                send()
            }
            self.connection?.flush()
        }, eventLoop: connection.loop)
        let delay = TimeAmount.nanoseconds(interval.nanoseconds / 2)
        ticker = connection.loop.scheduleRepeatedTask(initialDelay: interval, delay: delay) { _ in tick.value() }
    }

    private func send() {
        guard let connection, let publisher, connection.recorder.mayGoOn else { return }
        let nowNs = NIODeadline.now().uptimeNanoseconds
        connection.recorder.began()
        let body: ByteBuffer?
        if load.isEcho {
            echoes.append(nowNs)
            let request = Grpc_Reflection_V1_ServerReflectionRequest.with {
                $0.fileContainingSymbol = String(repeating: "x", count: load.options.recordSize)
            }
            body = try? LoadPayload.framed(request)
        } else {
            var value = ByteBuffer()
            value.writeInteger(nowNs)
            value.writeRepeatingByte(0x78, count: load.options.recordSize - 8)
            let request = Martlet_V1_PublishStreamRequest.with {
                $0.topic = load.options.topic
                $0.records = [.with { $0.value = .init(value.readableBytesView) }]
            }
            body = try? LoadPayload.framed(request)
        }
        guard let body else { return }
        publisher.outbound.writeImmutableBuffer(body)
        publisher.resume()
    }

    func stop() {
        ticker?.cancel()
        connection?.end()
    }

    private func seen(_ sentNs: UInt64) {
        connection?.recorder.ended(
            records: 1, bytes: load.options.recordSize, startedNs: sentNs, nowNs: NIODeadline.now().uptimeNanoseconds)
    }

    private func take(_ message: ByteBuffer) throws(ClientError) {
        let response: Martlet_V1_SubscribeResponse
        do {
            response = try Martlet_V1_SubscribeResponse(serializedBytes: Array(message.readableBytesView))
        } catch {
            throw ClientError(.badAnswer, "a message is no SubscribeResponse: \(error)")
        }
        if response.hasProgress { beginTicking() }
        for record in response.batches.flatMap(\.records) {
            var value = ByteBuffer(bytes: record.value)
            if let sentNs = value.readInteger(as: UInt64.self) { seen(sentNs) }
        }
    }
}
