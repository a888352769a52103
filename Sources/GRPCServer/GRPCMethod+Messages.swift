// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: methods whose requests are decoded by swift-protobuf: all but Publish.

import GRPCWire
import NIOCore
import SwiftProtobuf

extension GRPCMethod {
    /// A method that gets its request decoded. A status that `handle` throws ends the call.
    init<Request: SwiftProtobuf.Message>(
        _ service: String, _ name: String, _ kind: Kind = .unary,
        handle: @escaping @Sendable (Request, GRPCCall) throws(GRPCStatus) -> Void
    ) {
        self.init(service, name, kind) { call, bytes in
            do throws(GRPCStatus) {
                try handle(try Self.decode(bytes), call)
            } catch {
                call.fail(error)
            }
        }
    }

    private static func decode<Request: SwiftProtobuf.Message>(_ bytes: ByteBuffer) throws(GRPCStatus) -> Request {
        do {
            return try Request(serializedBytes: Array(bytes.readableBytesView))
        } catch {
            throw .malformed(Request.protoMessageName)
        }
    }
}
