// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: the `grpc-message` header: UTF-8 text, percent-encoded (gRPC over HTTP/2, "Status-Message").

extension GRPCStatus {
    /// Longest message that is sent, in encoded bytes: trailers have to pass the peer's header limit.
    static let encodedMessageBytesMax = 4096

    /// The message as a header value: printable ASCII but `%` stays, every other byte becomes `%XX`.
    package var encodedMessage: String {
        let isPlain = message.utf8.count <= Self.encodedMessageBytesMax && message.utf8.allSatisfy(Self.isPlain)
        guard !isPlain else { return message }
        var encoded = ""
        for byte in message.utf8 {
            guard encoded.utf8.count < Self.encodedMessageBytesMax - 2 else { break }
            if Self.isPlain(byte) {
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                encoded += "%" + Self.hexadecimal(byte >> 4) + Self.hexadecimal(byte & 15)
            }
        }
        return encoded
    }

    /// Reads a header value leniently, as the specification asks: what is no `%XX` stays as it is.
    package static func decodedMessage(_ value: String) -> String {
        let bytes = Array(value.utf8)
        guard bytes.contains(UInt8(ascii: "%")) else { return value }
        var decoded: [UInt8] = []
        var position = 0
        while position < bytes.count {
            if bytes[position] == UInt8(ascii: "%"), position + 2 < bytes.count,
                let high = Unicode.Scalar(bytes[position + 1]).hexadecimalValue,
                let low = Unicode.Scalar(bytes[position + 2]).hexadecimalValue
            {
                decoded.append(high << 4 | low)
                position += 3
            } else {
                decoded.append(bytes[position])
                position += 1
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    private static func isPlain(_ byte: UInt8) -> Bool { (0x20...0x7e).contains(byte) && byte != 0x25 }

    private static func hexadecimal(_ digit: UInt8) -> String {
        String(Unicode.Scalar(digit < 10 ? 0x30 + digit : 0x37 + digit))
    }
}

extension Unicode.Scalar {
    fileprivate var hexadecimalValue: UInt8? {
        switch self {
        case "0"..."9": UInt8(value - 0x30)
        case "a"..."f": UInt8(value - 0x57)
        case "A"..."F": UInt8(value - 0x37)
        default: nil
        }
    }
}
