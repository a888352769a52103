// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: how the edges hook themselves into a connection.
//
// The listener knows no protocol beyond its first bytes. When these are known it calls one of the
// closures below, once per connection, on the channel's event loop; from then on the transport has
// no handler in the pipeline except TLS.

import NIOCore

/// One closure per protocol; each adds its handlers to the pipeline's end, synchronously.
///
/// The channel is already active and, under TLS, the handshake is over: `channelActive` does not
/// come any more, so handlers that speak first do so in `handlerAdded`. The bytes that were read to
/// tell the protocol arrive as the first `channelRead`. Reads and writes are `ByteBuffer`; writing
/// a `FileRegion` works in plaintext and under TLS. A closure that throws gets its connection
/// closed and the error logged.
package struct ProtocolHandlers: Sendable {
    package typealias Configure = @Sendable (any Channel, ConnectionContext) throws -> Void

    package var kafka: Configure
    package var http2: Configure
    package var http1: Configure

    package init(kafka: @escaping Configure, http2: @escaping Configure, http1: @escaping Configure)
    {
        self.kafka = kafka
        self.http2 = http2
        self.http1 = http1
    }
}

/// Sent down every pipeline as a user inbound event when the broker is about to stop: finish what
/// was started, accept nothing new (GOAWAY, `Connection: close`), then close the channel. Whoever
/// is still connected at `deadline` is closed by the transport.
package struct DrainEvent: Sendable, Equatable {
    package var deadline: NIODeadline

    package init(deadline: NIODeadline) {
        self.deadline = deadline
    }
}
