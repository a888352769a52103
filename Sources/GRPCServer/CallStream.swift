// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what a call needs of the stream and of the connection it came by.
//
// For gRPC these are an HTTP/2 stream and its connection. A call of a browser comes by a translation (Web), over HTTP/2 or
// HTTP/1.1, and does not know.

import Engine
import GRPCWire
import HTTP2
import NIOCore
import Records
import Transport

/// Where a call's answer goes: gRPC frames into `outbound`, then a status.
protocol CallStream: AnyObject {
    var outbound: ByteBuffer { get set }
    /// No more of the request for now.
    var isInboundHeld: Bool { get set }
    /// There is something to send, or there may be, and the peer does not take it.
    var isHeldUp: Bool { get }
    /// The headers of an answer with messages.
    func begin(_ fields: HTTP2FieldList)
    /// The end, after what is in `outbound`.
    func finish(_ status: GRPCStatus)
    /// The end of an answer without headers and messages.
    func refuse(_ status: GRPCStatus)
    /// There is something to send.
    func resume()
    /// Nobody waits for the answer any more.
    func abandon()
}

/// Whom a call belongs to. Confined to its event loop.
protocol CallOwner: AnyObject {
    var server: GRPCServer { get }
    var peer: ConnectionContext { get }
    var loop: any EventLoop { get }
    var turn: Turn { get }
    var gatherer: PublishGatherer { get }
    var decompressor: Decompressor { get }
    /// Bytes of requests that are not complete.
    var bufferedBytes: Int { get set }
    /// Calls that wait because their callers are over a quota.
    var heldCalls: Int { get set }
    func nextUnkeyedPartition(of count: Int) -> Int32
    func scheduleFlush()
    /// The call has an incomplete request that shares the bytes of the current read.
    func keepLater(_ call: GRPCCall)
    func forget(_ call: GRPCCall)
}

extension HTTP2Stream: CallStream {
    func begin(_ fields: HTTP2FieldList) { respond(fields) }
    func finish(_ status: GRPCStatus) { finish(trailers: GRPCFields.trailers(status)) }
    func refuse(_ status: GRPCStatus) { respond(GRPCFields.trailersOnly(status), endOfStream: true) }
    func abandon() { reset(.cancel) }
}

extension GRPCConnection: CallOwner {}
