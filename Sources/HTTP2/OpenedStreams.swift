// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: which stream identifiers a client has passed over.
//
// Opening a stream closes all idle ones below it, and to open one of those later is a connection error (RFC 9113, section 5.1.1).
// nghttp2 keeps nothing of closed streams here, takes such HEADERS for trailers that crossed a reset, and says nothing: the
// client would wait for ever. What was passed over is remembered as a few ranges, for hardly any client ever does that.

struct OpenedStreams {
    private static let rangesMax = 16
    private var last: Int32 = -1
    private var passedOver: [ClosedRange<Int32>] = []

    /// HEADERS of this stream begin; false: it was passed over.
    mutating func begin(_ id: Int32) -> Bool {
        guard id > last else { return !passedOver.contains { $0.contains(id) } }
        if id > last + 2 {
            if passedOver.count == Self.rangesMax { passedOver.removeFirst() }
            passedOver.append(last + 2...id - 2)
        }
        last = id
        return true
    }
}
