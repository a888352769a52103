// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: the trace that a request belongs to, as its sender says (W3C Trace Context, level 1, `traceparent`).
//
// Peers send it, so it is taken only if it is exactly what the standard allows: 55 bytes of lower-case hexadecimal digits and
// dashes; a later version may be longer, and what follows is ignored. It goes into log lines and nowhere else.

import Logging

package struct TraceContext: Equatable, Sendable {
    package static let headerName = "traceparent"
    /// Of version 00; later versions may have more, up to this much.
    private static let size = 55
    private static let sizeMax = 256

    /// 32 digits.
    package let traceId: String
    /// 16 digits: the sender's span.
    package let spanId: String

    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`; nil if it is anything else.
    package init?(_ bytes: some Collection<UInt8>) {
        guard (Self.size...Self.sizeMax).contains(bytes.count) else { return nil }
        let all = Array(bytes)
        let fields = all.prefix(Self.size).split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard fields.map(\.count) == [2, 32, 16, 2], fields.allSatisfy({ $0.allSatisfy(Self.isDigit) }) else { return nil }
        let version = String(decoding: fields[0], as: UTF8.self)
        guard version != "ff", version == "00" ? all.count == Self.size : all.count == Self.size || all[Self.size] == UInt8(ascii: "-")
        else { return nil }
        // All zeros is what invalid ones look like.
        let zero = UInt8(ascii: "0")
        guard fields[1].contains(where: { $0 != zero }), fields[2].contains(where: { $0 != zero }) else { return nil }
        traceId = String(decoding: fields[1], as: UTF8.self)
        spanId = String(decoding: fields[2], as: UTF8.self)
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }

    /// Under the names that OpenTelemetry gives them in logs.
    package var metadata: Logger.Metadata { ["trace_id": "\(traceId)", "span_id": "\(spanId)"] }
}
