// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: loads Kafka's Fetch.
//
// Each connection reads its partition from the start of the log to its end, over and over, with
// several fetches on their way at once if asked (each reads the whole partition on its own). Of the
// answers only the heads of batches are read, and offsets have to follow each other.

import KafkaWire
import NIOCore

/// Sends Fetch requests.
struct FetchLoad: LoadDriver {
    struct Target: Sendable {
        var leader: PartitionLeader
        var startOffset: Int64
    }

    let dialer: Dialer
    let options: LoadOptions
    let targets: [Target]
    let version: Int16
    /// Up to here all fields of an answer have fixed sizes and topics have names.
    static let versionLimit: Int16 = 11
    static let correlationId: Int32 = 0x4d61_7274
    private static let defaultBytes = 1 << 20

    /// A request of this partition, and where in it the fetch offset is.
    func request(_ partition: Int32) throws(ClientError) -> (frame: ByteBuffer, offsetPosition: Int)
    {
        let marker: Int64 = 0x6d61_7274_6c65_7421
        var wanted = FetchRequest.Partition()
        wanted.partition = partition
        wanted.fetchOffset = marker
        wanted.partitionMaxBytes = Int32(
            options.batchBytes == 0 ? Self.defaultBytes : options.batchBytes)
        var topic = FetchRequest.Topic()
        topic.topic = options.topic
        topic.partitions = [wanted]
        var request = FetchRequest()
        request.maxWaitMs = 500
        request.minBytes = 1
        request.topics = [topic]
        var frame = ByteBuffer()
        do {
            try Frame.write(
                request, version: version, correlationId: Self.correlationId,
                clientId: options.connection.clientId, into: &frame)
        } catch {
            throw ClientError(.invalidArgument, "the request cannot be encoded: \(error)")
        }
        for position in stride(from: frame.readableBytes - 8, through: 0, by: -1)
        where frame.getInteger(at: position, as: Int64.self) == marker {
            return (frame, position)
        }
        preconditionFailure("the fetch offset is in a Fetch request")
    }

    func connect(
        _ index: Int, recorder: NIOLoopBound<LoadRecorder>, on loop: any EventLoop
    ) -> EventLoopFuture<NIOLoopBound<any LoadConnection>> {
        let target = targets[index % targets.count]
        let ready = loop.makePromise(of: NIOLoopBound<any LoadConnection>.self)
        dialer.dial(target.leader.leader, on: loop, receiveBytes: 256 * 1024) { _ in
            [
                try FetchLoadHandler(
                    load: self, target: target, recorder: recorder.value, ready: ready)
            ]
        }.whenFailure { ready.fail($0) }
        return ready.futureResult
    }
}

/// One connection of a Fetch load.
final class FetchLoadHandler: ChannelInboundHandler, LoadConnection {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct Pending {
        var offset: Int64
        var sentNs: UInt64
    }

    private let load: FetchLoad
    private let target: FetchLoad.Target
    private let recorder: LoadRecorder
    private let ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>
    private var frame: ByteBuffer
    private let offsetPosition: Int
    private var scanner: FetchAnswerScanner
    private var pending = CircularBuffer<Pending>()
    private var context: ChannelHandlerContext?
    private var needsFlush = false
    private var hasAnswered = false

    init(
        load: FetchLoad, target: FetchLoad.Target, recorder: LoadRecorder,
        ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>
    ) throws(ClientError) {
        self.load = load
        self.target = target
        self.recorder = recorder
        self.ready = ready
        (frame, offsetPosition) = try load.request(target.leader.partition)
        scanner = FetchAnswerScanner(
            topic: load.options.topic, version: load.version,
            correlationId: FetchLoad.correlationId)
    }

    func start() {
        guard let context else { return }
        let nowNs = NIODeadline.now().uptimeNanoseconds
        for _ in 0..<load.options.inFlight { send(target.startOffset, context, nowNs) }
        context.flush()
        needsFlush = false
    }

    func stop() {}

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        ready.succeed(NIOLoopBound(self, eventLoop: context.eventLoop))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        do throws(ClientError) {
            // SAFETY: the pointer is used within the closure only.
            try unsafe bytes.withUnsafeReadableBytes { (raw) throws(ClientError) in
                try unsafe scanner.scan(raw) { settle($0, context) }
            }
        } catch {
            fail(error)
            context.close(promise: nil)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        guard needsFlush else { return }
        needsFlush = false
        context.flush()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(ClientError(describing: error, on: target.leader.leader))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        fail(
            .closed(
                target.leader.leader, hasAnswered: hasAnswered,
                isSecure: load.options.connection.certificates != nil))
    }

    private func fail(_ error: ClientError) {
        ready.fail(error)
        recorder.fail(error)
    }

    private func send(_ offset: Int64, _ context: ChannelHandlerContext, _ nowNs: UInt64) {
        guard recorder.mayGoOn else { return }
        recorder.began()
        pending.append(Pending(offset: offset, sentNs: nowNs))
        frame.setInteger(offset, at: offsetPosition)
        context.write(wrapOutboundOut(frame), promise: nil)
        needsFlush = true
    }

    private func settle(_ answer: FetchAnswer, _ context: ChannelHandlerContext) {
        guard let request = pending.popFirst() else {
            return fail(ClientError(.badAnswer, "an answer to Fetch that nobody asked for"))
        }
        let nowNs = NIODeadline.now().uptimeNanoseconds
        hasAnswered = true
        if answer.errorCode != 0 {
            let code = KafkaErrorCode(rawValue: answer.errorCode) ?? .unknownServerError
            recorder.refused("\(code.name)")
            recorder.ended(records: 0, bytes: 0, startedNs: request.sentNs, nowNs: nowNs)
            return send(target.startOffset, context, nowNs)
        }
        // The first batch may begin before the offset asked for, never after it.
        if answer.firstOffset > request.offset {
            recorder.missed(Int(clamping: answer.firstOffset &- request.offset))
        }
        recorder.missed(answer.gaps)
        recorder.ended(
            records: answer.records, bytes: answer.bytes, startedNs: request.sentNs, nowNs: nowNs)
        recorder.use(answer.records)
        let next = answer.nextOffset
        let isAtEnd = next < 0 || next >= answer.highWatermark
        if next < 0 && answer.bytes > 0 {
            return fail(
                ClientError(
                    .invalidArgument, "a batch does not fit: raise --batch-bytes beyond its size"))
        }
        send(isAtEnd ? max(target.startOffset, answer.logStartOffset) : next, context, nowNs)
    }
}
