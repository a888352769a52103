// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the frame around a request or response: four bytes of length, then header and
// body.
//
// The length is reserved first and patched when the frame is complete. A Fetch or ShareFetch
// response may leave its records out (`FetchResponse.Records.external`): its frame then comes as
// segments, pieces of one buffer with holes of known size between them, and the length counts the
// holes too. Whoever sends the frame fills them in order, with file regions or with buffers.
// Cutting received bytes into frames is the transport's business.

import NIOCore

/// A piece of a frame: bytes to send as they are, or a place for `length` bytes of the sender's.
package enum FrameSegment: Equatable, Sendable {
    case bytes(ByteBuffer)
    case external(length: Int)
}

/// Where a payload was left out of a buffer, and how long it is.
struct ExternalPayload: Equatable, Sendable {
    var position: Int
    var length: Int
}

package enum Frame {
    /// The bytes of the length prefix.
    package static let prefixLength = 4

    /// Reserves the length prefix; returns what `end` needs.
    package static func begin(_ buffer: inout ByteBuffer) -> Int {
        let start = buffer.writerIndex
        buffer.writeInteger(0 as Int32)
        return start
    }

    /// Patches the prefix of the frame begun at `start`. `externalLength`: bytes that belong to the
    /// frame and are not in the buffer.
    package static func end(
        _ buffer: inout ByteBuffer, start: Int, externalLength: Int = 0
    ) throws(WireError) {
        let length = buffer.writerIndex - start - prefixLength + externalLength
        guard let checked = Int32(exactly: length) else {
            throw WireError(.tooLong(length), offset: start, message: "frame")
        }
        buffer.setInteger(checked, at: start)
    }

    /// Appends a whole request frame. On an error the buffer is as it was.
    package static func write(
        _ request: some KafkaRequest, version: Int16, correlationId: Int32, clientId: String?,
        into buffer: inout ByteBuffer
    ) throws(WireError) {
        let start = begin(&buffer)
        do throws(WireError) {
            let header = RequestHeader(
                type(of: request).apiKey, version: version, correlationId: correlationId,
                clientId: clientId)
            try header.encode(into: &buffer)
            try request.encode(into: &buffer, version: version)
            try end(&buffer, start: start)
        } catch {
            buffer.moveWriterIndex(to: start)
            throw error
        }
    }

    /// Appends a whole response frame. On an error the buffer is as it was.
    package static func write(
        _ response: some KafkaResponse, version: Int16, correlationId: Int32,
        into buffer: inout ByteBuffer
    ) throws(WireError) {
        let start = begin(&buffer)
        do throws(WireError) {
            try ResponseHeader(correlationId: correlationId).encode(
                into: &buffer, to: type(of: response).apiKey, version: version)
            try response.encode(into: &buffer, version: version)
            try end(&buffer, start: start)
        } catch {
            buffer.moveWriterIndex(to: start)
            throw error
        }
    }

    /// A Fetch response frame in segments. `buffer` is where its bytes are appended (the pieces are
    /// slices of it); what it already held is no part of them.
    package static func segments(
        _ response: FetchResponse, version: Int16, correlationId: Int32,
        into buffer: inout ByteBuffer
    ) throws(WireError) -> [FrameSegment] {
        try segmented(response, version: version, correlationId: correlationId, into: &buffer)
    }

    /// A ShareFetch response frame in segments, likewise.
    package static func segments(
        _ response: ShareFetchResponse, version: Int16, correlationId: Int32,
        into buffer: inout ByteBuffer
    ) throws(WireError) -> [FrameSegment] {
        try segmented(response, version: version, correlationId: correlationId, into: &buffer)
    }

    @inline(__always)
    private static func segmented<Response: KafkaResponse & FieldStructure>(
        _ response: Response, version: Int16, correlationId: Int32, into buffer: inout ByteBuffer
    ) throws(WireError) -> [FrameSegment] {
        let start = begin(&buffer)
        do throws(WireError) {
            try ResponseHeader(correlationId: correlationId).encode(
                into: &buffer, to: Response.apiKey, version: version)
            let externals = try FieldEncoder.encode(
                response, into: &buffer, version: version,
                isFlexible: Response.isFlexible(version), allowsExternal: true)
            try end(
                &buffer, start: start, externalLength: externals.reduce(0) { $0 + $1.length })
            return cut(buffer, from: start, at: externals)
        } catch {
            buffer.moveWriterIndex(to: start)
            throw error
        }
    }

    private static func cut(
        _ buffer: ByteBuffer, from start: Int, at externals: [ExternalPayload]
    ) -> [FrameSegment] {
        var segments: [FrameSegment] = []
        segments.reserveCapacity(2 * externals.count + 1)
        var position = start
        func appendBytes(upTo end: Int) {
            guard let piece = buffer.getSlice(at: position, length: end - position),
                piece.readableBytes > 0
            else { return }
            segments.append(.bytes(piece))
            position = end
        }
        for external in externals {
            appendBytes(upTo: external.position)
            segments.append(.external(length: external.length))
        }
        appendBytes(upTo: buffer.writerIndex)
        return segments
    }
}
