// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the header fields of answers. Those of the usual answers are made once.

import Bytes
import GRPCWire
import HTTP2
import NIOCore

enum GRPCFields {
    /// The headers of an answer with messages.
    static let headers = HTTP2FieldList(headerFields, permanent: true)
    /// The same for a call whose messages may come compressed.
    static let compressedHeaders = HTTP2FieldList(headerFields + [("grpc-encoding", "gzip")], permanent: true)
    static let trailersOK = HTTP2FieldList([("grpc-status", "0")], permanent: true)

    static let headerFields: [(name: String, value: String)] = [
        (":status", "200"), ("content-type", "application/grpc"),
        ("grpc-accept-encoding", MessageEncoding.accepted),
    ]

    /// Trailers after messages.
    static func trailers(_ status: GRPCStatus) -> HTTP2FieldList {
        status.code == .ok ? trailersOK : HTTP2FieldList(statusFields(status))
    }

    /// Headers and trailers in one, for a call that ends without a message.
    static func trailersOnly(_ status: GRPCStatus) -> HTTP2FieldList {
        HTTP2FieldList(headerFields + statusFields(status))
    }

    /// An answer to what is not gRPC.
    static func refusal(_ httpStatus: Int, _ extra: [(name: String, value: String)] = []) -> HTTP2FieldList {
        HTTP2FieldList([(":status", String(httpStatus))] + extra)
    }

    static func statusFields(_ status: GRPCStatus) -> [(name: String, value: String)] {
        var fields = [(name: "grpc-status", value: String(status.code.rawValue))]
        if !status.message.isEmpty { fields.append(("grpc-message", status.encodedMessage)) }
        if status.code != .ok {
            fields.append(("grpc-status-details-bin", Base64.encode(status.info.status(status).readableBytesView)))
        }
        return fields
    }
}
