// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: the BIO through which OpenSSL reads and writes our ByteBuffers.
//
// A BIO is OpenSSL's idea of a connection. This one reads from the buffer that was received last
// and appends to the buffer that will be sent next, so that the records of one flush become one
// write, without a memory BIO's copy in between. Owned by one TLSSession; used on its thread only.

import COpenSSL
import NIOCore

/// Received and outgoing bytes of one session.
final class TLSByteStream {
    /// What the peer sent and the library has not read yet.
    var inbound = ByteBuffer()
    /// What the library wrote and was not sent yet.
    var outbound = ByteBuffer()

    /// A BIO over `stream`, which must outlive it. Nil when out of memory.
    static func makeBIO(over stream: TLSByteStream) -> OpaquePointer? {
        // SAFETY: the BIO keeps an unowned pointer; TLSSession frees the BIO before it lets go of
        // the stream.
        guard let method = unsafe method.pointer, let bio = unsafe BIO_new(method) else {
            return nil
        }
        unsafe BIO_set_data(bio, Unmanaged.passUnretained(stream).toOpaque())
        unsafe BIO_set_init(bio, 1)
        return unsafe bio
    }

    /// The table of the functions below, made once and never freed.
    // @unchecked: the table is filled before `init` returns and only read afterwards.
    @safe private final class Method: @unchecked Sendable {
        let pointer: OpaquePointer?

        init() {
            // SAFETY: the functions are C functions without captures.
            let type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK
            unsafe pointer = unsafe BIO_meth_new(type, "martlet byte buffers")
            unsafe BIO_meth_set_read_ex(pointer, readBytes)
            unsafe BIO_meth_set_write_ex(pointer, writeBytes)
            unsafe BIO_meth_set_ctrl(pointer, control)
        }
    }

    private static let method = Method()
}

/// BIO_FLAGS_RWS and BIO_FLAGS_SHOULD_RETRY, as BIO_clear_retry_flags clears them.
private let retryFlags =
    BIO_FLAGS_READ | BIO_FLAGS_WRITE | BIO_FLAGS_IO_SPECIAL | BIO_FLAGS_SHOULD_RETRY

private func stream(of bio: OpaquePointer?) -> TLSByteStream? {
    // SAFETY: the data of our BIOs is always a TLSByteStream that outlives them (makeBIO).
    guard let data = unsafe BIO_get_data(bio) else { return nil }
    return unsafe Unmanaged<TLSByteStream>.fromOpaque(data).takeUnretainedValue()
}

private func readBytes(
    bio: OpaquePointer?, target: UnsafeMutablePointer<CChar>?, capacity: Int,
    count: UnsafeMutablePointer<Int>?
) -> Int32 {
    unsafe BIO_clear_flags(bio, retryFlags)
    guard let stream = unsafe stream(of: bio) else { return 0 }
    let available = min(capacity, stream.inbound.readableBytes)
    guard available > 0 else {
        // Not the end: whether the connection ended is the channel's business.
        unsafe BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
        return 0
    }
    // SAFETY: `target` has room for `capacity` bytes and `available` is not more than that, nor
    // more than what is readable.
    unsafe stream.inbound.readWithUnsafeReadableBytes { bytes in
        unsafe UnsafeMutableRawPointer(target)?.copyMemory(
            from: bytes.baseAddress!, byteCount: available)
        return available
    }
    // Let go of the channel's buffer, or it could not be used for the next read.
    if stream.inbound.readableBytes == 0 { stream.inbound = ByteBuffer() }
    unsafe count?.pointee = available
    return 1
}

private func writeBytes(
    bio: OpaquePointer?, source: UnsafePointer<CChar>?, length: Int,
    count: UnsafeMutablePointer<Int>?
) -> Int32 {
    unsafe BIO_clear_flags(bio, retryFlags)
    guard let stream = unsafe stream(of: bio) else { return 0 }
    // SAFETY: the library passes `length` readable bytes.
    unsafe stream.outbound.writeBytes(UnsafeRawBufferPointer(start: source, count: length))
    unsafe count?.pointee = length
    return 1
}

/// The library flushes after each flight; everything else does not concern a buffer.
private func control(
    bio: OpaquePointer?, command: Int32, number: Int, argument: UnsafeMutableRawPointer?
) -> Int {
    command == BIO_CTRL_FLUSH ? 1 : 0
}
