// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: what nghttp2 calls back, turned into events.
//
// Every function here runs inside `receive` or `collect` of the session that `context` refers to, on its loop. The
// pointers nghttp2 passes are valid during the call only.

import CNGHTTP2
import NIOCore

/// SAFETY: `context` is the unretained session that nghttp2 was given in `makeSession`, which outlives every callback.
@inline(__always) private func session(_ context: UnsafeMutableRawPointer?) -> HTTP2Session {
    guard let context = unsafe context else { preconditionFailure("nghttp2 lost its context") }
    return unsafe Unmanaged<HTTP2Session>.fromOpaque(context).takeUnretainedValue()
}

extension HTTP2Session {
    /// The callbacks; freed by the caller once nghttp2 has copied them.
    @unsafe func makeCallbacks() -> OpaquePointer? {
        var callbacks: OpaquePointer?
        unsafe nghttp2_session_callbacks_new(&callbacks)
        unsafe nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks) { _, head, context in
            if let head = unsafe head, unsafe UInt32(head.pointee.type) == NGHTTP2_HEADERS.rawValue {
                unsafe session(context).beginFrame(ofStream: head.pointee.stream_id)
            }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, context in
            if let frame = unsafe frame { unsafe session(context).beginHeaders(frame) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            _, _, name, nameCount, value, valueCount, _, context in
            unsafe session(context).fields.append(
                name: UnsafeBufferPointer(start: name, count: nameCount),
                value: UnsafeBufferPointer(start: value, count: valueCount))
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, context in
            if let frame = unsafe frame { unsafe session(context).receivedFrame(frame) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) {
            _, _, id, bytes, count, context in
            if let bytes = unsafe bytes { unsafe session(context).receivedData(id, bytes, count) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, code, context in
            let session = unsafe session(context)
            if let stream = session.stream(id) { session.close(stream, HTTP2ErrorCode(rawValue: code)) }
            return 0
        }
        unsafe nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, context in
            if let frame = unsafe frame { unsafe session(context).sentFrame(frame) }
            return 0
        }
        unsafe setDataCallbacks(callbacks)
        unsafe setDiagnosticCallbacks(callbacks)
        return unsafe callbacks
    }

    private func setDataCallbacks(_ callbacks: OpaquePointer?) {
        unsafe nghttp2_session_callbacks_set_send_data_callback(callbacks) {
            _, frame, head, count, _, context in
            guard let frame = unsafe frame, let head = unsafe head else { return 0 }
            return unsafe session(context).sendData(frame, head: head, count)
        }
        unsafe nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks) {
            _, _, _, connectionWindow, streamWindow, frameBytesMax, context in
            unsafe session(context).dataLength(
                streamWindow: streamWindow, connectionWindow: connectionWindow, frameBytesMax: frameBytesMax)
        }
    }

    private func setDiagnosticCallbacks(_ callbacks: OpaquePointer?) {
        unsafe nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks) { _, _, code, context in
            unsafe session(context).diagnostic = unsafe String(cString: nghttp2_strerror(code))
            return 0
        }
        unsafe nghttp2_session_callbacks_set_error_callback2(callbacks) { _, _, text, count, context in
            let bytes = unsafe UnsafeRawBufferPointer(start: text, count: count)
            unsafe session(context).diagnostic = unsafe String(decoding: bytes, as: UTF8.self)
            return 0
        }
    }

    // MARK: Receiving

    private func beginFrame(ofStream id: Int32) {
        // Others than a client's are refused by nghttp2.
        guard role == .server, id > 0, id % 2 == 1, !opened.begin(id) else { return }
        diagnostic = "HEADERS of stream \(id), which was passed over"
        terminate(.protocolError)
    }

    private func beginHeaders(_ frame: UnsafePointer<nghttp2_frame>) {
        fields.removeAll()
        if role == .server, unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST {
            _ = unsafe open(frame.pointee.hd.stream_id)
        }
    }

    private func receivedFrame(_ frame: UnsafePointer<nghttp2_frame>) {
        let head = unsafe frame.pointee.hd
        switch UInt32(head.type) {
        case NGHTTP2_HEADERS.rawValue:
            unsafe receivedHeaders(head, frame.pointee.headers.cat)
        case NGHTTP2_DATA.rawValue:
            guard head.endsStream, let stream = stream(head.stream_id) else { return }
            stream.hasReceivedEnd = true
            stream.handler?.receivedEnd(on: stream)
        case NGHTTP2_RST_STREAM.rawValue:
            stream(head.stream_id)?.wasResetByPeer = true
        case NGHTTP2_SETTINGS.rawValue:
            delegate?.receivedSettings()
        case NGHTTP2_PING.rawValue:
            if head.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0 { delegate?.receivedPingAnswer() }
        case NGHTTP2_GOAWAY.rawValue:
            let goAway = unsafe frame.pointee.goaway
            unsafe delegate?.receivedGoAway(
                HTTP2ErrorCode(rawValue: goAway.error_code), lastStreamId: goAway.last_stream_id)
        default:
            break
        }
    }

    private func receivedHeaders(_ head: nghttp2_frame_hd, _ category: nghttp2_headers_category) {
        guard let stream = stream(head.stream_id) else { return }
        if head.endsStream { stream.hasReceivedEnd = true }
        if category == NGHTTP2_HCAT_REQUEST {
            delegate?.receivedRequest(fields, endOfStream: head.endsStream, on: stream)
        } else {
            stream.handler?.received(fields, endOfStream: head.endsStream, on: stream)
        }
    }

    private func receivedData(_ id: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int) {
        let stream = stream(id)
        if let stream, let handler = stream.handler, let base = unsafe inboundBase {
            // SAFETY: nghttp2 passes DATA payload where it lies in the bytes given to `receive`; getSlice checks the range.
            let offset = unsafe UnsafeRawPointer(bytes) - base
            guard let data = inbound.getSlice(at: inbound.readerIndex + offset, length: count) else {
                preconditionFailure("nghttp2 delivered bytes it was not given")
            }
            handler.received(data, on: stream)
        }
        consumeDelivered(stream, id: id, count)
    }

    // MARK: Sending

    /// How nghttp2 asks for a stream's body; nil without a stream.
    @unsafe func withDataProvider<T>(
        _ stream: HTTP2Stream?, _ body: (UnsafePointer<nghttp2_data_provider>?) -> T
    ) -> T {
        guard let stream else { return body(nil) }
        // SAFETY: nghttp2 asks only while it knows the stream, and so while `streams` retains it.
        let pointer = unsafe Unmanaged.passUnretained(stream).toOpaque()
        let provider = unsafe nghttp2_data_provider(source: nghttp2_data_source(ptr: pointer)) {
            _, _, _, limit, flags, source, context in
            guard let pointer = unsafe source?.pointee.ptr, let flags = unsafe flags else { return 0 }
            let stream = unsafe Unmanaged<HTTP2Stream>.fromOpaque(pointer).takeUnretainedValue()
            var ending = UInt32(NGHTTP2_DATA_FLAG_NO_COPY.rawValue)
            let count = unsafe session(context).readData(stream, limit: limit, &ending)
            unsafe flags.pointee |= ending
            return count
        }
        return unsafe withUnsafePointer(to: provider) { unsafe body($0) }
    }

    /// How many bytes of the body the next DATA frame has.
    private func readData(_ stream: HTTP2Stream, limit: Int, _ flags: inout UInt32) -> Int {
        if outbound.readableBytes >= outboundLimit { return Int(NGHTTP2_ERR_PAUSE.rawValue) }
        if stream.outbound.readableBytes == 0, !stream.isFinished {
            stream.handler?.produce(room: stream.room, on: stream)
            guard stream.isOpen else { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
        }
        let available = stream.outbound.readableBytes
        if available == 0, !stream.isFinished {
            stream.isDeferred = true
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        if available <= limit, stream.isFinished {
            flags |= NGHTTP2_DATA_FLAG_EOF.rawValue
            if let trailers = stream.takeTrailers() {
                flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
                submitTrailers(stream, trailers)
            }
        }
        return min(available, limit)
    }

    /// Writes one DATA frame: the 9 bytes of its head, and its payload.
    private func sendData(
        _ frame: UnsafeMutablePointer<nghttp2_frame>, head: UnsafePointer<UInt8>, _ count: Int
    ) -> CInt {
        guard let stream = unsafe stream(frame.pointee.hd.stream_id), stream.outbound.readableBytes >= count else {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        // SAFETY: a frame's head has 9 bytes (RFC 9113, section 4.1). No padding was asked for.
        unsafe outbound.writeBytes(UnsafeRawBufferPointer(start: head, count: 9))
        // SAFETY: the bytes are read during the call only, and another buffer is written to.
        unsafe stream.outbound.readWithUnsafeReadableBytes { bytes in
            unsafe outbound.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        }
        if stream.outbound.readableBytes == 0 { stream.outbound.clear() }
        return 0
    }

    /// A server that has said everything closes the stream, even if the client has not (RFC 9113, section 8.1).
    private func sentFrame(_ frame: UnsafePointer<nghttp2_frame>) {
        let head = unsafe frame.pointee.hd
        if head.type == UInt8(NGHTTP2_GOAWAY.rawValue) {
            goAwaySent = unsafe HTTP2ErrorCode(rawValue: frame.pointee.goaway.error_code)
        }
        guard role == .server, head.endsStream,
            head.type == UInt8(NGHTTP2_DATA.rawValue) || head.type == UInt8(NGHTTP2_HEADERS.rawValue),
            let stream = stream(head.stream_id), !stream.hasReceivedEnd
        else { return }
        reset(stream, .noError)
    }
}

extension nghttp2_frame_hd {
    fileprivate var endsStream: Bool { flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0 }
}
