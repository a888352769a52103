// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: the `grpc-timeout` header: 1 to 8 digits and a unit (gRPC over HTTP/2, "Timeout").

import NIOCore

package enum GRPCTimeout {
    /// The time from now on that the caller gives; nil if the value breaks the grammar.
    package static func parse(_ value: ByteBuffer) -> TimeAmount? {
        let count = value.readableBytes
        guard (2...9).contains(count), let unit = value.getInteger(at: value.readerIndex + count - 1, as: UInt8.self)
        else { return nil }
        var amount: Int64 = 0
        for digit in value.readableBytesView.dropLast() {
            guard (0x30...0x39).contains(digit) else { return nil }
            amount = amount * 10 + Int64(digit - 0x30)
        }
        // The largest value, 99,999,999 hours, has more nanoseconds than 64 bits: it means "for ever" all the same.
        return switch unit {
        case UInt8(ascii: "H"): .hours(min(amount, 1_000_000))
        case UInt8(ascii: "M"): .minutes(amount)
        case UInt8(ascii: "S"): .seconds(amount)
        case UInt8(ascii: "m"): .milliseconds(amount)
        case UInt8(ascii: "u"): .microseconds(amount)
        case UInt8(ascii: "n"): .nanoseconds(amount)
        default: nil
        }
    }

    /// The header value for a time, rounded up to what the grammar can say.
    package static func format(_ time: TimeAmount) -> String {
        let nanoseconds = max(0, time.nanoseconds)
        let units: [(Int64, String)] = [
            (1, "n"), (1000, "u"), (1_000_000, "m"), (1_000_000_000, "S"), (60_000_000_000, "M"),
        ]
        for (size, unit) in units {
            let amount = nanoseconds / size + (nanoseconds % size > 0 ? 1 : 0)
            if amount <= 99_999_999 { return "\(amount)\(unit)" }
        }
        return "\(nanoseconds / 3_600_000_000_000 + 1)H"
    }
}
