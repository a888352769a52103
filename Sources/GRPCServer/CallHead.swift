// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what the headers of a gRPC call over HTTP/2 say about it, or why it is none.

import GRPCWire
import HTTP2
import NIOCore

struct CallHead {
    let route: GRPCRoute
    /// How its messages may be compressed.
    let encoding: MessageEncoding
    /// How long the caller waits; nil: for ever.
    let timeout: TimeAmount?
    /// Who compresses what it asks wants answers compressed, as grpc-go's and other servers have it.
    let takesCompressed: Bool

    init(_ fields: HTTP2Fields, _ router: GRPCRouter, _ configuration: HTTP2Configuration) throws(GRPCStatus) {
        if fields.isTruncated {
            throw GRPCStatus(
                .resourceExhausted, "HEADERS_TOO_LARGE", [("limit", "\(configuration.headerListBytesMax)")],
                "the call's headers are larger than \(configuration.headerListBytesMax) bytes; send less metadata")
        }
        guard let path = fields[.path], let route = router.route(path) else {
            throw .unknown(method: fields.string(.path) ?? "")
        }
        guard let encoding = MessageEncoding(fields[.grpcEncoding]) else {
            throw .unsupported("grpc-encoding", fields.string(.grpcEncoding), accepted: MessageEncoding.accepted)
        }
        self.route = route
        self.encoding = encoding
        timeout = try fields[.grpcTimeout].map { value throws(GRPCStatus) in
            guard let timeout = GRPCTimeout.parse(value) else {
                throw .malformed(timeout: String(buffer: value))
            }
            return timeout
        }
        takesCompressed = encoding == .gzip && MessageEncoding.isAccepted(.gzip, by: fields[.grpcAcceptEncoding])
    }

    /// `application/grpc`, with or without `+proto`. Other message formats are somebody else's (gRPC over HTTP/2).
    static func isGRPC(_ fields: HTTP2Fields) -> Bool {
        fields.matches(.contentType, "application/grpc") || fields.starts(.contentType, with: "application/grpc+proto")
            || fields.starts(.contentType, with: "application/grpc;")
    }
}

extension GRPCStatus {
    static func unsupported(_ field: String, _ encoding: String?, accepted: String) -> GRPCStatus {
        GRPCStatus(
            .unimplemented, "UNSUPPORTED_COMPRESSION", [("accepted", accepted)],
            "\(field) \(encoding ?? "") is not supported, only \(accepted)")
    }

    static func malformed(timeout: String) -> GRPCStatus {
        .invalid("grpc-timeout", "grpc-timeout \(timeout) is malformed: it is 1 to 8 digits and one of H, M, S, m, u, n")
    }

    static func unknown(method: String) -> GRPCStatus {
        GRPCStatus(
            .unimplemented, "UNKNOWN_METHOD", [("method", method)],
            "there is no method \(method); server reflection lists those that there are")
    }
}
