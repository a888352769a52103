// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: a blocking view of a broker's record streams over gRPC, for command lines.
//
// Owned by one thread, never an event loop. One connection.

import Contract
import NIOCore
import NIOPosix
import SwiftProtobuf

/// Talks gRPC from a thread that may wait.
package final class GRPCClient {
    package let options: ConnectionOptions
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let connection: GRPCConnection

    /// Connects.
    package init(_ options: ConnectionOptions) throws(ClientError) {
        self.options = options
        let dialer = try Dialer(options, applicationProtocols: ["h2"])
        do {
            connection = try GRPCConnection.connect(with: dialer, on: group.next()).wait()
        } catch {
            try? group.syncShutdownGracefully()
            throw ClientError(describing: error, on: options.endpoint)
        }
    }

    deinit {
        connection.close()
        try? group.syncShutdownGracefully()
    }

    /// Streams records; `body` gets each message and answers whether to go on.
    package func subscribe(
        _ request: Martlet_V1_SubscribeRequest,
        _ body: (Martlet_V1_SubscribeResponse) throws(ClientError) -> Bool
    ) throws(ClientError) {
        let call = try wait(connection.call(Self.subscribePath, request))
        while let response = try wait(call.next(Martlet_V1_SubscribeResponse.self)) {
            guard try body(response) else { return call.cancel() }
        }
    }

    static let subscribePath = "/martlet.v1.Streams/Subscribe"
    static let publishPath = "/martlet.v1.Streams/Publish"

    private func wait<Value: Sendable>(
        _ future: EventLoopFuture<Value>
    ) throws(ClientError) -> Value {
        do {
            return try future.wait()
        } catch {
            throw ClientError(describing: error, on: options.endpoint)
        }
    }
}
