// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: why a call failed, for programs: the `grpc-status-details-bin` header.
//
// A google.rpc.Status with a google.rpc.ErrorInfo, and where they apply a BadRequest (which field) and a RetryInfo (when to
// try again), written by hand: four small messages that never change. Immutable.

import NIOCore

package final class StatusDetails: Sendable {
    /// A constant in upper case: UNKNOWN_TOPIC.
    package let reason: String
    /// The field of the request that is wrong.
    package let field: String?
    /// What it is about: topic, partition, offset.
    package let metadata: [(key: String, value: String)]
    /// When it is worth trying again.
    package let retryMs: Int64?

    package init(
        reason: String, field: String? = nil, metadata: [(key: String, value: String)] = [], retryMs: Int64? = nil
    ) {
        self.reason = reason
        self.field = field
        self.metadata = metadata
        self.retryMs = retryMs
    }

    /// With what it is about as well, unless it says that already.
    func adding(_ entry: (key: String, value: String)) -> StatusDetails {
        guard !metadata.contains(where: { $0.key == entry.key }) else { return self }
        return StatusDetails(reason: reason, field: field, metadata: metadata + [entry], retryMs: retryMs)
    }

    package static let domain = "martlet"
    /// Bytes of the status' message that are repeated here: the header has to pass the peer's limit.
    private static let messageBytesMax = 1024

    /// The details as (type, bytes), as google.protobuf.Any names them without its prefix.
    package func messages(_ description: String) -> [(type: String, bytes: ByteBuffer)] {
        var info = ByteBuffer()
        info.writeProtobufText(0x0a, reason)
        info.writeProtobufText(0x12, Self.domain)
        for (key, value) in metadata {
            var entry = ByteBuffer()
            entry.writeProtobufText(0x0a, key)
            entry.writeProtobufText(0x12, value)
            info.writeProtobufBytes(0x1a, entry)
        }
        var found = [(type: "google.rpc.ErrorInfo", bytes: info)]
        if let field {
            var violation = ByteBuffer()
            violation.writeProtobufText(0x0a, field)
            violation.writeProtobufText(0x12, String(description.prefix(Self.messageBytesMax)))
            var request = ByteBuffer()
            request.writeProtobufBytes(0x0a, violation)
            found.append(("google.rpc.BadRequest", request))
        }
        if let retryMs {
            var delay = ByteBuffer()
            delay.writeInteger(UInt8(0x08))
            delay.writeProtobufVarint(UInt64(retryMs / 1000))
            delay.writeInteger(UInt8(0x10))
            delay.writeProtobufVarint(UInt64(retryMs % 1000) * 1_000_000)
            var retry = ByteBuffer()
            retry.writeProtobufBytes(0x0a, delay)
            found.append(("google.rpc.RetryInfo", retry))
        }
        return found
    }

    /// The google.rpc.Status.
    package func status(_ status: GRPCStatus) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeInteger(UInt8(0x08))
        bytes.writeProtobufVarint(UInt64(status.code.rawValue))
        bytes.writeProtobufText(0x12, String(status.message.prefix(Self.messageBytesMax)))
        for (type, message) in messages(status.message) {
            var any = ByteBuffer()
            any.writeProtobufText(0x0a, "type.googleapis.com/" + type)
            any.writeProtobufBytes(0x12, message)
            bytes.writeProtobufBytes(0x1a, any)
        }
        return bytes
    }
}
