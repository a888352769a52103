// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: one connection's HTTP/2, client or server, without I/O: bytes in, events and bytes out.
//
// The only owner of an `nghttp2_session` and of everything unsafe about it. Used from one loop, never re-entered: events are
// delivered from within `receive` and `collect`, and handlers may submit from there but not call these two.
// What is received is handed on as slices of the received buffer; what is sent is copied once, into the buffer that `collect`
// fills up to its limit, so the output of a connection is bounded whatever the peer's windows allow.
// It does not know gRPC, has no timers, and never sends by itself: whoever submits something calls `collect` afterwards.

import Bytes
import CNGHTTP2
import NIOCore

/// What the owner of a connection is told. The same rules as for `HTTP2StreamHandler`.
package protocol HTTP2SessionDelegate: AnyObject {
    /// Server: a request's headers are complete. Set the stream's handler, or respond and leave it without one.
    func receivedRequest(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream)
    /// The peer acknowledged our settings or sent its own.
    func receivedSettings()
    /// The peer takes no streams after `lastStreamId`.
    func receivedGoAway(_ code: HTTP2ErrorCode, lastStreamId: Int32)
    /// The answer to `ping`.
    func receivedPingAnswer()
    /// The last open stream has ended.
    func allStreamsEnded()
}

extension HTTP2SessionDelegate {
    package func allStreamsEnded() {}
}

/// An HTTP/2 connection.
@safe package final class HTTP2Session {
    package enum Role: Sendable {
        case client
        case server
    }

    package let role: Role
    /// Held until `connectionClosed`; a weak reference would make every use of a connection dearer.
    package var delegate: (any HTTP2SessionDelegate)?
    /// What nghttp2 last complained about, for the log line of a connection that ends badly.
    package internal(set) var diagnostic: String?
    /// The code of the last GOAWAY frame that was sent.
    package internal(set) var goAwaySent: HTTP2ErrorCode?
    /// Streams that are not closed.
    package private(set) var streamCount = 0

    let configuration: HTTP2Configuration
    let fields: HTTP2Fields
    /// The bytes of the `receive` in progress, and where they lie.
    var inbound = ByteBuffer()
    var inboundBase: UnsafeRawPointer?
    /// What `collect` has put together so far, and how far it may go.
    var outbound = ByteBuffer()
    var outboundLimit = 0
    /// Never nil after `init`.
    private var session: OpaquePointer?
    /// Open streams; nghttp2 holds unretained references to them.
    private var streams: [HTTP2Stream?] = []
    private var freeSlots: [Int] = []
    /// Emptied buffers of closed streams, to be used again.
    private var buffers: [ByteBuffer] = []
    private var resets: TokenBucket
    private var idleFrames: TokenBucket
    private var frames = FrameWalk()
    var opened = OpenedStreams()

    package init(role: Role, configuration: HTTP2Configuration = HTTP2Configuration(), clock: any Clock) {
        self.role = role
        self.configuration = configuration
        fields = HTTP2Fields(sizeMax: Int(configuration.headerListBytesMax))
        resets = TokenBucket(
            burst: configuration.resetBurst, perSecond: configuration.resetsPerSecond, clock: clock)
        idleFrames = TokenBucket(
            burst: configuration.idleFrameBurst, perSecond: configuration.idleFramesPerSecond, clock: clock)
        unsafe session = makeSession()
        submitSettings()
    }

    deinit {
        // SAFETY: the session was made in `init` and dies here; its callbacks are not called any more.
        unsafe nghttp2_session_del(session)
    }

    /// The streams that are not closed, in no particular order.
    package var openStreams: [HTTP2Stream] { streams.compactMap { $0 } }

    /// Whether there is nothing left to read or write: close the connection.
    package var isDone: Bool {
        unsafe nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
    }

    /// Whether `collect` would find something.
    package var wantsWrite: Bool { unsafe nghttp2_session_want_write(session) != 0 }

    // MARK: Bytes

    /// Takes what was read from the peer. Throws when the connection cannot go on.
    package func receive(_ bytes: ByteBuffer) throws(HTTP2Error) {
        if role == .server, !countFrames(bytes) {
            diagnostic = "too many frames that bring nothing (empty DATA, PRIORITY, unknown types) in a short time"
            return terminate(.enhanceYourCalm)
        }
        inbound = bytes
        // SAFETY: nghttp2 reads these bytes during the call only; `inbound` keeps them alive and is not written to.
        let count = unsafe bytes.withUnsafeReadableBytes { pointer in
            unsafe inboundBase = pointer.baseAddress
            return unsafe nghttp2_session_mem_recv(
                session, pointer.baseAddress?.assumingMemoryBound(to: UInt8.self), pointer.count)
        }
        unsafe inboundBase = nil
        inbound = ByteBuffer()
        guard count >= 0 else { throw failure(CInt(count)) }
    }

    /// False: too many of them bring nothing.
    private func countFrames(_ bytes: ByteBuffer) -> Bool {
        var bytes = bytes
        while let head = frames.next(in: &bytes) {
            if head.isIdle {
                guard idleFrames.take() else { return false }
            } else {
                idleFrames.earn(head.worth)
            }
        }
        return true
    }

    /// Appends what is to be sent to `buffer`, until about `limit` bytes are there. Returns whether there may be more.
    package func collect(into buffer: inout ByteBuffer, limit: Int) throws(HTTP2Error) -> Bool {
        outboundLimit = limit
        swap(&outbound, &buffer)
        defer { swap(&outbound, &buffer) }
        while outbound.readableBytes < limit {
            var bytes: UnsafePointer<UInt8>?
            let count = unsafe nghttp2_session_mem_send(session, &bytes)
            guard count >= 0 else { throw failure(CInt(count)) }
            guard count > 0, let start = unsafe bytes else {
                return outbound.readableBytes >= limit
            }
            // SAFETY: nghttp2 guarantees `count` bytes at `start` until its next call.
            unsafe outbound.writeBytes(UnsafeRawBufferPointer(start: start, count: count))
        }
        return true
    }

    // MARK: The connection

    /// Says that no new streams are welcome, while those on their way are still taken (RFC 9113, section 6.8).
    package func announceShutdown() {
        unsafe nghttp2_submit_shutdown_notice(session)
    }

    /// Refuses all streams after those seen so far; the connection is done when they are.
    package func refuseNewStreams() {
        unsafe nghttp2_submit_goaway(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nghttp2_session_get_last_proc_stream_id(session),
            HTTP2ErrorCode.noError.rawValue, nil, 0)
    }

    /// Ends the connection: GOAWAY, and nothing after it.
    package func terminate(_ code: HTTP2ErrorCode) {
        unsafe nghttp2_session_terminate_session(session, code.rawValue)
    }

    package func ping() {
        unsafe nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
    }

    /// The transport is gone: every open stream is told so. Whoever made the session calls this in the end, once.
    package func connectionClosed() {
        for stream in streams { if let stream { close(stream, .cancel) } }
        delegate = nil
    }

    // MARK: Client

    /// Opens a stream. Nil when the connection takes no more (GOAWAY, or the identifiers are used up).
    package func request(
        _ fields: HTTP2FieldList, handler: any HTTP2StreamHandler, endOfStream: Bool = false
    ) -> HTTP2Stream? {
        precondition(role == .client, "only a client sends requests")
        guard unsafe nghttp2_session_check_request_allowed(session) != 0 else { return nil }
        let stream = open(0)
        stream.handler = handler
        // SAFETY: list and provider are valid during the call, which copies what it needs (HTTP2FieldList); the stream that
        // the provider and nghttp2 refer to is retained by `streams` until `close`.
        let id = unsafe fields.withFields { list, count in
            unsafe withDataProvider(endOfStream ? nil : stream) { provider in
                unsafe nghttp2_submit_request(
                    session, nil, list, count, provider, Unmanaged.passUnretained(stream).toOpaque())
            }
        }
        stream.id = id
        if endOfStream { stream.finish() } else { stream.hasBody = true }
        guard id > 0 else {
            close(stream, .refusedStream)
            return nil
        }
        return stream
    }

    // MARK: Streams (called by HTTP2Stream)

    func respond(_ stream: HTTP2Stream, _ fields: HTTP2FieldList, endOfStream: Bool) {
        // SAFETY: as in `request`.
        unsafe fields.withFields { list, count in
            unsafe withDataProvider(endOfStream ? nil : stream) { provider in
                _ = unsafe nghttp2_submit_response(session, stream.id, list, count, provider)
            }
        }
    }

    func submitTrailers(_ stream: HTTP2Stream, _ fields: HTTP2FieldList) {
        // SAFETY: the list outlives the call, or for ever if nghttp2 does not copy it.
        unsafe fields.withFields { list, count in
            _ = unsafe nghttp2_submit_trailer(session, stream.id, list, count)
        }
    }

    func resume(_ stream: HTTP2Stream) {
        unsafe nghttp2_session_resume_data(session, stream.id)
    }

    func reset(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {
        unsafe nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream.id, code.rawValue)
    }

    func room(_ stream: HTTP2Stream) -> Int {
        let window = unsafe min(
            nghttp2_session_get_remote_window_size(session),
            nghttp2_session_get_stream_remote_window_size(session, stream.id))
        return max(0, Int(window) - stream.outbound.readableBytes)
    }

    func consume(_ id: Int32, _ bytes: Int) {
        unsafe nghttp2_session_consume_stream(session, id, bytes)
    }

    // MARK: Streams (called by the callbacks)

    func open(_ id: Int32) -> HTTP2Stream {
        let slot = freeSlots.popLast() ?? streams.count
        let stream = HTTP2Stream(id: id, slot: slot, session: self, outbound: buffers.popLast() ?? ByteBuffer())
        if slot == streams.count { streams.append(stream) } else { streams[slot] = stream }
        streamCount += 1
        if id > 0 {
            // SAFETY: `streams` keeps the object until `close`, after which nghttp2 does not mention the stream again.
            unsafe nghttp2_session_set_stream_user_data(session, id, Unmanaged.passUnretained(stream).toOpaque())
        }
        return stream
    }

    /// The stream that nghttp2 calls `id`, if it is still open.
    func stream(_ id: Int32) -> HTTP2Stream? {
        // SAFETY: set in `open` or `request` to an object that `streams` retains while nghttp2 knows the stream.
        guard let pointer = unsafe nghttp2_session_get_stream_user_data(session, id) else { return nil }
        return unsafe Unmanaged<HTTP2Stream>.fromOpaque(pointer).takeUnretainedValue()
    }

    func close(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {
        guard stream.isOpen else { return }
        if stream.id > 0 { unsafe nghttp2_session_set_stream_user_data(session, stream.id, nil) }
        let handler = stream.handler
        stream.detach()
        streams[stream.slot] = nil
        freeSlots.append(stream.slot)
        streamCount -= 1
        keep(&stream.outbound)
        handler?.closed(code, on: stream)
        if streamCount == 0 { delegate?.allStreamsEnded() }
        // NO_ERROR in the peer's RST_STREAM is a reset all the same; in ours it ends a call that was answered early.
        if role == .server, code != .noError || stream.wasResetByPeer, !resets.take() {
            diagnostic = "too many streams reset in a short time"
            terminate(.enhanceYourCalm)
        }
    }

    /// Gives the window back for bytes that have been handed on.
    func consumeDelivered(_ stream: HTTP2Stream?, id: Int32, _ bytes: Int) {
        guard let stream, stream.isInboundHeld else {
            unsafe nghttp2_session_consume(session, id, bytes)
            return
        }
        // The connection's window goes back at once, or one held stream would stop all the others.
        unsafe nghttp2_session_consume_connection(session, bytes)
        stream.unconsumed += bytes
    }

    /// Largest DATA payload to be sent next, within what nghttp2 says is allowed.
    func dataLength(streamWindow: Int32, connectionWindow: Int32, frameBytesMax: UInt32) -> Int {
        min(Int(streamWindow), Int(connectionWindow), Int(min(frameBytesMax, configuration.dataFrameBytesMax)))
    }

    // MARK: Private

    private func makeSession() -> OpaquePointer {
        var options: OpaquePointer?
        var made: OpaquePointer?
        unsafe nghttp2_option_new(&options)
        unsafe nghttp2_option_set_no_auto_window_update(options, 1)
        unsafe nghttp2_option_set_no_closed_streams(options, 1)
        unsafe nghttp2_option_set_max_outbound_ack(options, configuration.answersQueuedMax)
        unsafe nghttp2_option_set_max_settings(options, configuration.settingsEntriesMax)
        // `resets` counts these, on the injected clock and with an answer that names the cause.
        unsafe nghttp2_option_set_stream_reset_rate_limit(options, UInt64(UInt32.max), UInt64(UInt32.max))
        let callbacks = unsafe makeCallbacks()
        // SAFETY: the session never outlives `self`, which it refers to unretained; callbacks and options are copied.
        let owner = unsafe Unmanaged.passUnretained(self).toOpaque()
        let code =
            switch role {
            case .server: unsafe nghttp2_session_server_new2(&made, callbacks, owner, options)
            case .client: unsafe nghttp2_session_client_new2(&made, callbacks, owner, options)
            }
        unsafe nghttp2_session_callbacks_del(callbacks)
        unsafe nghttp2_option_del(options)
        guard code == 0, let session = unsafe made else { preconditionFailure("nghttp2: out of memory") }
        return unsafe session
    }

    private func submitSettings() {
        var entries = [
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue), value: configuration.streamWindowBytes),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_FRAME_SIZE.rawValue), value: configuration.frameBytesMax),
            nghttp2_settings_entry(
                settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue), value: configuration.headerListBytesMax),
        ]
        switch role {
        case .server:
            entries.append(
                nghttp2_settings_entry(
                    settings_id: Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue), value: configuration.streamsMax))
        case .client:
            entries.append(
                nghttp2_settings_entry(settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0))
        }
        let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        unsafe nghttp2_submit_settings(session, flags, entries, entries.count)
        unsafe nghttp2_session_set_local_window_size(session, flags, 0, configuration.connectionWindowBytes)
    }

    private func keep(_ buffer: inout ByteBuffer) {
        guard buffer.capacity > 0, buffer.capacity <= 4096, buffers.count < 64 else {
            buffer = ByteBuffer()
            return
        }
        var kept = ByteBuffer()
        swap(&kept, &buffer)
        kept.clear()
        buffers.append(kept)
    }

    private func failure(_ code: CInt) -> HTTP2Error {
        let text = diagnostic ?? (unsafe String(cString: nghttp2_strerror(code)))
        return switch code {
        case NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue: HTTP2Error(.badPreface, "the connection does not start with HTTP/2's preface")
        case NGHTTP2_ERR_FLOODED.rawValue: HTTP2Error(.flooded, "more PING or SETTINGS frames than answers are read: \(text)")
        default: HTTP2Error(.failed, "HTTP/2 failed: \(text)")
        }
    }
}
