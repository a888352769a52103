// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: a call in both directions whose answers do not follow from single requests.
//
// Requests are given to it as they come and while it takes them; what it has to say is pulled from it like any stream.

import NIOCore

protocol GRPCSession: GRPCStreamSource {
    /// While false, no requests are read and the peer's window is not opened. `GRPCCall.readMore` after it has become true.
    var takesRequests: Bool { get }
    /// The next request; its bytes are the connection's, copy what is kept for longer than the call.
    func received(_ message: ByteBuffer)
    /// No more requests. The session ends the call by `GRPCProduction.finished`.
    func requestsEnded()
    /// The broker stops: take nothing more, and end soon.
    func drain()
}
