// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the one error of this module: bytes that are no Kafka message, or a message
// that cannot be put into bytes.
//
// Decoding throws it for the peer's fault (the connection is closed and the reason logged once);
// encoding throws it when a value does not fit the version it is sent in. It carries where and why.

/// Why a message could not be read or written, and at which byte.
package struct WireError: Error, Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        /// A field needs more bytes than the message still has.
        case truncated(needed: Int, remaining: Int)
        /// A count or length so large that the rest of the message cannot hold it.
        case countTooLarge(count: Int, remaining: Int)
        /// Arrays of more elements than the message's size makes believable.
        case tooManyElements(Int)
        /// A length below -1 (-1 is null).
        case negativeLength(Int)
        /// Null where this version has no null.
        case nullNotAllowed
        /// An unsigned varint of more than five bytes, or above 32 bits.
        case malformedVarint
        /// A known tagged field whose content is not as long as its size says.
        case tagSizeMismatch(tag: Int, size: Int)
        /// A string or array too long for the length field of this version.
        case tooLong(Int)
        /// A version this module has no definition for.
        case unsupportedVersion(Int16)
        /// Records left to the sender, in an encoding that has no segments.
        case externalRecords
    }

    package var kind: Kind
    /// Byte offset in the message.
    package var offset: Int
    /// The message's type name, for the log; empty while the error is still inside the coder.
    package var message: String

    package init(_ kind: Kind, offset: Int, message: String = "") {
        self.kind = kind
        self.offset = offset
        self.message = message
    }

    /// The same error, said to be about `type`.
    func about(_ type: Any.Type) -> WireError {
        WireError(kind, offset: offset, message: String(describing: type))
    }
}

extension WireError: CustomStringConvertible {
    package var description: String {
        "\(message.isEmpty ? "message" : message), byte \(offset): \(reason)"
    }

    private var reason: String {
        switch kind {
        case .truncated(let needed, let remaining):
            "the field needs \(needed) bytes and \(remaining) are left"
        case .countTooLarge(let count, let remaining):
            "a count of \(count) cannot be true with \(remaining) bytes left"
        case .tooManyElements(let count):
            "\(count) more elements are too many for a message of this size"
        case .negativeLength(let length): "negative length \(length)"
        case .nullNotAllowed: "null is not allowed here in this version"
        case .malformedVarint: "an unsigned varint does not end within 32 bits"
        case .tagSizeMismatch(let tag, let size): "tagged field \(tag) is not \(size) bytes long"
        case .tooLong(let length): "\(length) is more than the length field of this version can say"
        case .unsupportedVersion(let version): "version \(version) is not defined here"
        case .externalRecords: "external records can only be encoded into segments"
        }
    }
}
