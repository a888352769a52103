// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: how one edge lets another answer an HTTP/1.1 request.
//
// The HTTP edge owns the connection and its framing; an edge that takes a request gets its body and writes the answer,
// through these two protocols. Everything happens on the connection's event loop.

import NIOCore

/// A request's line and header fields. Names are lower case.
package struct HTTPHead: Sendable {
    package var method: String
    package var target: String
    package var fields: [(name: String, value: String)]

    package init(method: String, target: String, fields: [(name: String, value: String)]) {
        self.method = method
        self.target = target
        self.fields = fields
    }

    /// The first value of this name.
    package subscript(name: String) -> String? { fields.first { $0.name == name }?.value }

    package var path: Substring { target.prefix { $0 != "?" } }
    package var query: Substring { target.dropFirst(path.count).dropFirst() }
}

/// What the taker of a request writes to.
package protocol HTTPExchange: AnyObject {
    /// Whether the peer takes what it is sent; `HTTPExchangeHandler.writable` tells when that changes.
    var isWritable: Bool { get }
    /// Sends the answer's head. `length`: of the body; nil: not known, it ends with `end`.
    func respond(_ status: Int, _ fields: [(name: String, value: String)], length: Int?)
    func write(_ bytes: ByteBuffer)
    /// The answer is complete.
    func end()
    /// Closes the connection in the middle of an answer.
    func abort()
}

/// The taker of a request.
package protocol HTTPExchangeHandler: AnyObject {
    func received(_ body: ByteBuffer)
    func receivedEnd()
    func writable()
    /// The broker stops: end soon.
    func drain()
    /// The connection is gone, or the exchange is over.
    func closed()
}

/// Takes a request, or leaves it to the HTTP edge's own pages (nil).
package typealias HTTPTaker = @Sendable (HTTPHead, ConnectionContext, any EventLoop, any HTTPExchange) -> (
    any HTTPExchangeHandler
)?

/// Why a page is not shown to somebody who has not said who they are (401).
package struct HTTPLoginRefusal: Equatable, Sendable {
    package var message: String
    /// Values of `www-authenticate`.
    package var challenges: [String]

    package init(message: String, challenges: [String]) {
        self.message = message
        self.challenges = challenges
    }
}

/// Says on the loop, perhaps before it returns, whether whoever asks may read a page that names what is stored here; nil: yes. Given
/// are the value of `authorization` and the connection.
package typealias HTTPGate = @Sendable (
    String?, ConnectionContext, any EventLoop, _ completion: @escaping @Sendable (HTTPLoginRefusal?) -> Void
) -> Void
