// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: loads Kafka's Produce.
//
// The request of each partition is encoded once and sent again and again: the storage is shared,
// nothing is copied or encoded while it is measured. All requests carry the same correlation id,
// which is allowed, because answers come in order. Of an answer only the correlation id and the
// error code are read, at their fixed places.

import Bytes
import KafkaWire
import NIOCore

/// Sends prepared Produce requests.
struct ProduceLoad: LoadDriver {
    /// What goes to one partition.
    struct Target: Sendable {
        var leader: Endpoint
        var frame: ByteBuffer
    }

    let dialer: Dialer
    let options: LoadOptions
    let targets: [Target]
    /// Where an answer has its error code, counted from the correlation id.
    let errorPosition: Int
    static let correlationId: Int32 = 0x4d61_7274
    /// 10 and later differ in tagged fields only.
    static let versionLimit: Int16 = 11

    /// Encodes the requests for a topic whose leaders are known.
    init(
        dialer: Dialer, options: LoadOptions, leaders: [PartitionLeader], version: Int16,
        clock: some Clock
    ) throws(ClientError) {
        self.dialer = dialer
        self.options = options
        let batch = LoadPayload.batch(options, timestamp: clock.nowMs())
        var targets: [Target] = []
        for leader in leaders {
            var partition = ProduceRequest.Partition()
            partition.index = leader.partition
            partition.records = batch
            var topic = ProduceRequest.Topic()
            topic.name = options.topic
            topic.partitions = [partition]
            var request = ProduceRequest()
            request.acks = options.acks
            request.timeoutMs = 30_000
            request.topics = [topic]
            var frame = ByteBuffer()
            do {
                try Frame.write(
                    request, version: version, correlationId: Self.correlationId,
                    clientId: options.connection.clientId, into: &frame)
            } catch {
                throw ClientError(.invalidArgument, "the request cannot be encoded: \(error)")
            }
            targets.append(Target(leader: leader.leader, frame: frame))
        }
        self.targets = targets
        errorPosition = Self.errorPosition(topic: options.topic, version: version)
    }

    /// Correlation id, topics (one), its name, partitions (one), its index, then the error code.
    static func errorPosition(topic: String, version: Int16) -> Int {
        let name = topic.utf8.count
        guard ApiTable.entry(key: ApiKey.produce.rawValue)?.isFlexible(version) == true else {
            return 4 + 4 + 2 + name + 4 + 4
        }
        // Flexible: a tag count in the header, and unsigned varints of the lengths plus one.
        return 4 + 1 + 1 + (name + 1 < 128 ? 1 : 2) + name + 1 + 4
    }

    func connect(
        _ index: Int, recorder: NIOLoopBound<LoadRecorder>, on loop: any EventLoop
    ) -> EventLoopFuture<NIOLoopBound<any LoadConnection>> {
        let target = targets[index % targets.count]
        let ready = loop.makePromise(of: NIOLoopBound<any LoadConnection>.self)
        let records = LoadPayload.recordsPerBatch(options)
        dialer.dial(target.leader, on: loop) { [options, errorPosition] _ in
            let handler = ProduceLoadHandler(
                frame: target.frame, inFlight: options.inFlight, isAnswered: options.acks != 0,
                errorPosition: errorPosition, recordsPerRequest: records,
                bytesPerRequest: records * options.recordSize, endpoint: target.leader,
                isSecure: options.connection.certificates != nil, recorder: recorder.value,
                ready: ready)
            return [handler]
        }.whenFailure { ready.fail($0) }
        return ready.futureResult
    }
}

/// One connection of a Produce load.
final class ProduceLoadHandler: ChannelInboundHandler, LoadConnection {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let frame: ByteBuffer
    private let inFlight: Int
    private let isAnswered: Bool
    private let errorPosition: Int
    private let recordsPerRequest: Int
    private let bytesPerRequest: Int
    private let endpoint: Endpoint
    private let isSecure: Bool
    private let recorder: LoadRecorder
    private let ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>
    private var context: ChannelHandlerContext?
    private var sentNs: CircularBuffer<UInt64>
    /// The beginning of an answer that is not whole.
    private var rest = ByteBuffer()
    private var needsFlush = false
    private var hasAnswered = false
    private static let answerBytesMax = 1 << 20

    init(
        frame: ByteBuffer, inFlight: Int, isAnswered: Bool, errorPosition: Int,
        recordsPerRequest: Int, bytesPerRequest: Int, endpoint: Endpoint, isSecure: Bool,
        recorder: LoadRecorder, ready: EventLoopPromise<NIOLoopBound<any LoadConnection>>
    ) {
        self.frame = frame
        self.inFlight = inFlight
        self.isAnswered = isAnswered
        self.errorPosition = errorPosition
        self.recordsPerRequest = recordsPerRequest
        self.bytesPerRequest = bytesPerRequest
        self.endpoint = endpoint
        self.isSecure = isSecure
        self.recorder = recorder
        self.ready = ready
        sentNs = CircularBuffer(initialCapacity: inFlight)
    }

    func start() {
        guard let context else { return }
        guard isAnswered else { return sendUnanswered(context) }
        let nowNs = NIODeadline.now().uptimeNanoseconds
        for _ in 0..<inFlight { send(context, nowNs) }
        context.flush()
        needsFlush = false
    }

    func stop() {}

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        ready.succeed(NIOLoopBound(self, eventLoop: context.eventLoop))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if rest.readableBytes > 0 {
            rest.writeBuffer(&bytes)
            swap(&rest, &bytes)
            rest = ByteBuffer()
        }
        // SAFETY: the pointer is used within the closure only.
        let taken = unsafe bytes.withUnsafeReadableBytes { unsafe readAnswers($0, context) }
        bytes.moveReaderIndex(forwardBy: taken)
        // A copy: keeping the slice would pin the buffer that was read into.
        if bytes.readableBytes > 0 { rest = ByteBuffer(bytes: bytes.readableBytesView) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        guard needsFlush else { return }
        needsFlush = false
        context.flush()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if !isAnswered && context.channel.isWritable { sendUnanswered(context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(ClientError(describing: error, on: endpoint))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        fail(.closed(endpoint, hasAnswered: hasAnswered, isSecure: isSecure))
    }

    private func fail(_ error: ClientError) {
        ready.fail(error)
        recorder.fail(error)
    }

    @inline(__always) private func send(_ context: ChannelHandlerContext, _ nowNs: UInt64) {
        guard recorder.mayGoOn else { return }
        recorder.began(records: recordsPerRequest)
        sentNs.append(nowNs)
        context.write(wrapOutboundOut(frame), promise: nil)
        needsFlush = true
    }

    /// Reads whole answers; returns how many bytes they had.
    private func readAnswers(
        _ bytes: UnsafeRawBufferPointer, _ context: ChannelHandlerContext
    ) -> Int {
        let nowNs = NIODeadline.now().uptimeNanoseconds
        var position = 0
        while bytes.count - position >= 8 {
            // SAFETY: eight bytes are there, checked above.
            let length = unsafe Int(
                Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: Int32.self)))
            let id = unsafe Int32(
                bigEndian: bytes.loadUnaligned(fromByteOffset: position + 4, as: Int32.self))
            guard (errorPosition + 2...Self.answerBytesMax).contains(length),
                id == ProduceLoad.correlationId, let startedNs = sentNs.first
            else {
                fail(ClientError(.badAnswer, "\(endpoint) sent what is no answer to Produce"))
                context.close(promise: nil)
                return bytes.count
            }
            guard bytes.count - position >= 4 + length else { break }
            // SAFETY: the answer is whole and has a code at `errorPosition`, checked above.
            let code = unsafe Int16(
                bigEndian: bytes.loadUnaligned(
                    fromByteOffset: position + 4 + errorPosition, as: Int16.self))
            position += 4 + length
            hasAnswered = true
            sentNs.removeFirst()
            settle(code, startedNs: startedNs, nowNs: nowNs)
            send(context, nowNs)
        }
        return position
    }

    @inline(__always) private func settle(_ code: Int16, startedNs: UInt64, nowNs: UInt64) {
        if code != 0 {
            recorder.refused("\((KafkaErrorCode(rawValue: code) ?? .unknownServerError).name)")
        }
        recorder.ended(
            records: code == 0 ? recordsPerRequest : 0, bytes: code == 0 ? bytesPerRequest : 0,
            startedNs: startedNs, nowNs: nowNs)
    }

    /// Nobody answers: as much as the connection takes, some at a time so that the loop serves
    /// others.
    private func sendUnanswered(_ context: ChannelHandlerContext) {
        var sent = 0
        while recorder.mayGoOn && context.channel.isWritable && sent < inFlight {
            recorder.began(records: recordsPerRequest)
            context.write(wrapOutboundOut(frame), promise: nil)
            sent += 1
        }
        guard sent > 0 else { return }
        context.flush()
        let nowNs = NIODeadline.now().uptimeNanoseconds
        for _ in 0..<sent {
            recorder.ended(
                records: recordsPerRequest, bytes: bytesPerRequest, startedNs: nowNs, nowNs: nowNs)
        }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.execute {
            let (handler, context) = bound.value
            handler.sendUnanswered(context)
        }
    }
}
