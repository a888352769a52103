// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what a server-streaming call sends: pulled, so that nothing is made before there is room for it.

import GRPCWire
import NIOCore

/// What a server-streaming call sends.
protocol GRPCStreamSource: AnyObject {
    /// Appends messages of about `room` bytes together. Called on the loop, only while nothing waits to be sent.
    func produce(room: Int, into buffer: inout ByteBuffer) -> GRPCProduction
    /// The call has ended for whatever reason: stop waiting.
    func ended()
}

enum GRPCProduction {
    /// There is something in the buffer.
    case produced
    /// Nothing to send; the source will call `GRPCCall.resume`.
    case waiting
    /// After what is in the buffer, if anything, the stream ends.
    case finished(GRPCStatus)
}
