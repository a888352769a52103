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

    /// A call with one request and one answer.
    package func ask<Response: Message>(
        _ path: String, _ request: some Message, _ type: Response.Type = Response.self
    ) throws(ClientError) -> Response {
        let call = try wait(connection.call(path, request))
        guard let answer = try wait(call.next(type)) else {
            throw ClientError(.badAnswer, "\(options.endpoint) ended the call without an answer")
        }
        return answer
    }

    /// A call with many requests and answers.
    package func open<Response: Message>(
        _ path: String, _ type: Response.Type = Response.self
    ) throws(ClientError) -> GRPCExchange<Response> {
        GRPCExchange(call: try wait(connection.open(path)), endpoint: options.endpoint)
    }

    static let subscribePath = "/martlet.v1.Streams/Subscribe"
    static let publishPath = "/martlet.v1.Streams/Publish"
    static let publishStreamPath = "/martlet.v1.Streams/PublishStream"
    static let receivePath = "/martlet.v1.Work/Receive"
    static let redrivePath = "/martlet.v1.Work/Redrive"
    static let describeDeadLettersPath = "/martlet.v1.Work/DescribeDeadLetters"
    static let reflectionPath = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

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
