// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: every bound of this module.
//
// What a peer can make the transport hold, wait for or count is bounded by a number in this file.
// Reaching one closes that connection with a log line that names the bound; nothing else is
// disturbed.

import NIOCore

/// The bounds of one listener; the defaults suit production.
package struct TransportLimits: Sendable {
    /// A connection that has not shown its protocol after this long is closed.
    package var detectionTimeout: TimeAmount = .seconds(10)
    /// A TLS handshake that takes longer is closed.
    package var handshakeTimeout: TimeAmount = .seconds(10)
    /// Bytes one handshake may receive: a ClientHello, a chain of certificates and some room.
    package var handshakeBytesMax = 128 * 1024
    /// Answers to TLS control messages (key updates) that may wait for a peer that does not read
    /// them.
    package var unreadControlBytesMax = 64 * 1024
    /// A refused connection may send for this long before it is cut off, so that it can read the
    /// refusal.
    package var lingerTimeout: TimeAmount = .seconds(1)
    /// Bytes that are thrown away while a refused connection lingers.
    package var lingerBytesMax = 1024 * 1024
    /// Largest length field that is still taken for a Kafka frame (Kafka's
    /// `socket.request.max.bytes`). Must stay below 0x1603_0000, the first value that TLS and HTTP
    /// bytes can spell.
    package var kafkaFrameBytesMax = 100 * 1024 * 1024
    /// Open connections of one listener.
    package var connectionsMax = 10_000
    /// Connections above `connectionsMax` that are kept just long enough to be told so in their
    /// protocol; beyond them a connection is closed without a word.
    package var connectionsRefusedAtOnceMax = 64
    /// While no connection can be accepted, that is logged once in this time.
    static let acceptFailureLogInterval = TimeAmount.seconds(10)
    /// How long a listener waits before it accepts again, when there was no descriptor for it.
    static let acceptPause = TimeAmount.milliseconds(250)

    package init() {}
}
