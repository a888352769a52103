// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: message compression (`grpc-encoding`): identity and gzip.
//
// Requests may come in either. That a client accepts gzip is no wish for it: nearly all do, and compressing what a local
// reader decompresses at once costs both sides more than it saves. Answers are compressed for those whose call came compressed.

import NIOCore
import Records

package enum MessageEncoding: Sendable {
    case identity
    case gzip

    /// The value of `grpc-accept-encoding`.
    package static let accepted = "identity,gzip"

    /// Whether the value of a peer's `grpc-accept-encoding` has it.
    package static func isAccepted(_ encoding: MessageEncoding, by list: ByteBuffer?) -> Bool {
        guard let list, encoding == .gzip else { return encoding == .identity }
        return list.readableBytesView.split(separator: UInt8(ascii: ",")).contains { name in
            name.drop { $0 == UInt8(ascii: " ") }.elementsEqual("gzip".utf8)
        }
    }

    /// The encoding of this name; nil if it is not one of those accepted.
    package init?(_ name: ByteBuffer?) {
        guard let name else {
            self = .identity
            return
        }
        switch String(buffer: name) {
        case "identity": self = .identity
        case "gzip": self = .gzip
        default: return nil
        }
    }
}

extension MessageDeframer.Message {
    /// The message as it was before compression.
    package func decoded(
        _ encoding: MessageEncoding, _ decompressor: Decompressor, bytesMax: Int
    ) throws(GRPCStatus) -> ByteBuffer {
        guard isCompressed else { return bytes }
        guard encoding == .gzip else {
            throw GRPCStatus(
                .internal, "INVALID_COMPRESSION",
                "a message is flagged as compressed but the call has no grpc-encoding; name the compression there")
        }
        var output = ByteBuffer()
        do {
            // SAFETY: the pointer is used within the closure only.
            try unsafe bytes.withUnsafeReadableBytes { (source) throws(RecordError) in
                try unsafe decompressor.decompress(source, .gzip, into: &output, limit: bytesMax)
            }
        } catch {
            guard error.code == .decompressedTooLarge else {
                throw GRPCStatus(.internal, "INVALID_COMPRESSION", "a message cannot be decompressed: it is not gzip")
            }
            throw GRPCStatus(
                .resourceExhausted, "MESSAGE_TOO_LARGE", [("limit", "\(bytesMax)")],
                "a message is larger than the \(bytesMax) bytes allowed once it is decompressed; send less at a time")
        }
        return output
    }
}
