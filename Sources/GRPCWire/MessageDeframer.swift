// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: cuts the body of a request or response into messages.
//
// A value with one owner. A message that arrives in one piece is a slice of what was received and costs nothing; only what
// is incomplete is kept. The buffer grows with the bytes that arrive, never with the length that is announced.

import NIOCore

package struct MessageDeframer {
    /// A message as it was sent.
    package struct Message {
        package var isCompressed: Bool
        package var bytes: ByteBuffer
    }

    /// nil rather than empty: all empty buffers share one storage, whose count of references all event loops would change.
    private var pending: ByteBuffer?
    private var isShared = false
    private let messageBytesMax: Int

    package init(messageBytesMax: Int) {
        self.messageBytesMax = messageBytesMax
    }

    /// Whether the body stops in the middle of a message.
    package var isIncomplete: Bool { pending != nil }

    /// Bytes that wait for the rest of their message.
    package var pendingBytes: Int { pending?.readableBytes ?? 0 }

    /// Takes more of the body. It shares the storage of `data` until `keep`.
    package mutating func append(_ data: ByteBuffer) {
        guard data.readableBytes > 0 else { return }
        if pending == nil {
            pending = data
            isShared = true
        } else {
            keep()
            pending?.writeImmutableBuffer(data)
        }
    }

    /// The next whole message, if there is one. Throws `RESOURCE_EXHAUSTED` when it announces too many bytes.
    package mutating func next() throws(GRPCStatus) -> Message? {
        guard let start = pending?.readerIndex, let flag = pending?.getInteger(at: start, as: UInt8.self),
            let announced = pending?.getInteger(at: start + 1, as: UInt32.self)
        else { return nil }
        guard flag <= 1 else {
            throw GRPCStatus(.internal, "INVALID_FRAME", "a message has the unknown flags \(flag); 0 and 1 are known")
        }
        let length = Int(announced)
        guard length <= messageBytesMax else {
            throw GRPCStatus(
                .resourceExhausted, "MESSAGE_TOO_LARGE", [("limit", "\(messageBytesMax)")],
                "a message of \(length) bytes is larger than the \(messageBytesMax) bytes allowed; send less at a time")
        }
        guard pendingBytes >= MessageFrame.prefixSize + length else { return nil }
        pending?.moveReaderIndex(forwardBy: MessageFrame.prefixSize)
        guard let bytes = pending?.readSlice(length: length) else {
            preconditionFailure("a length that was checked does not fit")
        }
        if pendingBytes == 0 { removeAll() }
        return Message(isCompressed: flag == 1, bytes: bytes)
    }

    /// Copies what is incomplete, so that the receive buffer it is a slice of can be used again.
    package mutating func keep() {
        guard isShared, let pending else { return }
        var own = ByteBuffer()
        own.reserveCapacity(2 * pending.readableBytes)
        own.writeImmutableBuffer(pending)
        self.pending = own
        isShared = false
    }

    package mutating func removeAll() {
        pending = nil
        isShared = false
    }
}
