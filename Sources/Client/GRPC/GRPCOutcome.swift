// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: how a gRPC call ended, in words.

import GRPCWire
import HTTP2

enum GRPCOutcome {
    /// What trailers say: nil for OK.
    static func failure(in trailers: HTTP2Fields) -> ClientError? {
        if trailers.matches(.grpcStatus, "0") { return nil }
        guard let text = trailers.string(.grpcStatus), let number = Int(text) else {
            let status = trailers.string(.status) ?? "none"
            return ClientError(
                .badAnswer, "the call ended without a gRPC status (HTTP status \(status))")
        }
        let name = GRPCStatus.Code(rawValue: number)?.name ?? "status \(number)"
        let message = trailers.string(.grpcMessage).map(GRPCStatus.decodedMessage) ?? ""
        return ClientError(.refused, message.isEmpty ? name : "\(message) [\(name)]")
    }
}
