// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: one stream, as its handler sees it.
//
//   idle -> headers sent -> body (pulled from the handler whenever there is room) -> finished -> closed
//
// Owned by its session and used on the session's loop. After `closed` every call is ignored, because a close by the peer can
// always cross what the handler is doing. What is to be sent waits in `outbound` until flow control lets it go;
// `produce` is only called while that is empty, so a slow peer holds one piece of data and never a queue.

import NIOCore

/// What the owner of a stream is told. Calls come from within `HTTP2Session.receive` and `collect`; they may use the stream, but
/// not call these two.
package protocol HTTP2StreamHandler: AnyObject {
    /// A header block after the first one: trailers; for a client also the response's headers.
    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream)
    /// Part of the body. It shares the storage of the bytes that were received: copy what is kept for longer than the event.
    func received(_ data: ByteBuffer, on stream: HTTP2Stream)
    /// The peer has ended its side with the last DATA frame.
    func receivedEnd(on stream: HTTP2Stream)
    /// There is room to send about `room` bytes and `outbound` is empty: write, finish, or do nothing and call `resume` later.
    func produce(room: Int, on stream: HTTP2Stream)
    /// The stream is over: cleanly (`noError`), or reset by one of the sides or with the connection.
    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream)
}

/// One HTTP/2 stream.
package final class HTTP2Stream {
    package internal(set) var id: Int32
    package var handler: (any HTTP2StreamHandler)?
    /// Body bytes that wait for flow control. The handler writes here; `resume` tells the session about it.
    package var outbound: ByteBuffer
    /// The peer has ended its side.
    package internal(set) var hasReceivedEnd = false
    /// Nothing more will be written.
    package private(set) var isFinished = false
    /// While true the peer gets no new window for what it sends on this stream.
    package var isInboundHeld = false {
        didSet {
            guard oldValue, !isInboundHeld, unconsumed > 0 else { return }
            session?.consume(id, unconsumed)
            unconsumed = 0
        }
    }

    private(set) var trailers: HTTP2FieldList?
    /// nghttp2 has taken the stream off its queue until `resume`.
    var isDeferred = false
    var hasBody = false
    /// Ended by a RST_STREAM frame of the peer's, whatever code it carried.
    var wasResetByPeer = false
    var unconsumed = 0
    /// Where the session keeps this stream.
    var slot: Int
    /// Nil once closed. Strong: `HTTP2Session.connectionClosed` breaks the cycle.
    private var session: HTTP2Session?

    init(id: Int32, slot: Int, session: HTTP2Session, outbound: ByteBuffer) {
        self.id = id
        self.slot = slot
        self.session = session
        self.outbound = outbound
    }

    package var isOpen: Bool { session != nil }

    /// Something waits for the peer: bytes for its window, or a handler that was not asked for more yet.
    package var isHeldUp: Bool { isOpen && !isDeferred }

    /// Sends a response's headers; with `endOfStream` there is no body.
    package func respond(_ fields: HTTP2FieldList, endOfStream: Bool = false) {
        if endOfStream { isFinished = true } else { hasBody = true }
        session?.respond(self, fields, endOfStream: endOfStream)
    }

    /// No more body after what is in `outbound`; then the trailers, if there are any.
    package func finish(trailers: HTTP2FieldList? = nil) {
        guard !isFinished else { return }
        isFinished = true
        self.trailers = trailers
        resume()
    }

    /// There is something to send again.
    package func resume() {
        guard isDeferred else { return }
        isDeferred = false
        session?.resume(self)
    }

    /// Ends both directions at once.
    package func reset(_ code: HTTP2ErrorCode) {
        session?.reset(self, code)
    }

    /// Bytes that flow control lets through now, on this stream and on the connection.
    package var room: Int { session?.room(self) ?? 0 }

    func takeTrailers() -> HTTP2FieldList? {
        defer { trailers = nil }
        return trailers
    }

    func detach() {
        session = nil
        handler = nil
    }
}
