// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: one connection to a Kafka-protocol broker.
//
// Safe to use from any thread: state belongs to the loop-bound handler. Requests are pipelined,
// answers come in order. Versions are agreed on first: each request goes out in the newest version
// both sides know.

import KafkaWire
import NIOCore

/// A connection on which requests are answered.
package struct KafkaConnection: Sendable {
    package let endpoint: Endpoint
    /// Whether the broker asked for the client's certificate and was shown it.
    package let isCertificateShown: Bool
    let channel: any Channel
    private let handler: NIOLoopBound<KafkaResponseHandler>
    private let clientId: String
    private let versions: [Int16: ClosedRange<Int16>]

    /// Connects and asks for the broker's versions.
    static func connect(
        to endpoint: Endpoint, with dialer: Dialer, on loop: any EventLoop
    ) -> EventLoopFuture<KafkaConnection> {
        let ready = loop.makePromise(of: Void.self)
        let options = dialer.options
        let isSecure = options.certificates != nil
        let handler = NIOLoopBoundBox<KafkaResponseHandler?>.makeEmptyBox(eventLoop: loop)
        let dialed = dialer.dial(endpoint, on: loop) { _ in
            let made = KafkaResponseHandler(
                endpoint: endpoint, isSecure: isSecure, hasLogin: options.login != nil,
                timeoutMs: options.requestTimeoutMs, ready: ready)
            handler.value = made
            return [made]
        }
        dialed.whenFailure { ready.fail($0) }
        return dialed.and(ready.futureResult).flatMap { channel, _ in
            guard let made = handler.value else {
                return loop.makeFailedFuture(ClientError(.connection, "the connection is gone"))
            }
            let bare = KafkaConnection(
                endpoint: endpoint, isCertificateShown: made.isCertificateShown, channel: channel,
                handler: NIOLoopBound(made, eventLoop: loop),
                clientId: options.clientId, versions: [18: 0...0])
            let known = bare.send(ApiVersionsRequest()).flatMapThrowing { try bare.knowing($0) }
            guard let login = options.login else { return known }
            return known.flatMap { $0.loggedIn(as: login, isSecret: options.isSecret) }
        }
    }

    private func knowing(_ answer: ApiVersionsResponse) throws(ClientError) -> KafkaConnection {
        guard answer.errorCode == .none, !answer.apiKeys.isEmpty else {
            throw ClientError(
                .badAnswer,
                "\(endpoint) does not say which versions it speaks: \(answer.errorCode.name)"
            )
        }
        var versions: [Int16: ClosedRange<Int16>] = [:]
        for api in answer.apiKeys where api.minVersion <= api.maxVersion {
            versions[api.apiKey] = api.minVersion...api.maxVersion
        }
        return KafkaConnection(
            endpoint: endpoint, isCertificateShown: isCertificateShown, channel: channel, handler: handler, clientId: clientId,
            versions: versions)
    }

    /// The newest version of an API that both sides know, `limit` at most.
    package func version(of key: ApiKey, limit: Int16 = .max) throws(ClientError) -> Int16 {
        guard let theirs = versions[key.rawValue] else {
            throw ClientError(.refused, "\(endpoint) does not offer \(key.name)")
        }
        guard let ours = ApiTable.entry(key: key.rawValue)?.versions else {
            throw ClientError(.invalidArgument, "\(key.name) is not known here")
        }
        let newest = min(theirs.upperBound, ours.upperBound, limit)
        guard newest >= theirs.lowerBound, newest >= ours.lowerBound else {
            throw ClientError(
                .refused,
                """
                \(endpoint) speaks versions \(theirs.lowerBound) to \(theirs.upperBound) of \
                \(key.name), and none of them is known here
                """
            )
        }
        return newest
    }

    /// Sends a request; the future is the decoded answer, or a `ClientError`.
    package func send<Request: KafkaRequest>(
        _ request: Request, versionLimit: Int16 = .max
    ) -> EventLoopFuture<Request.Response> {
        let version: Int16
        do {
            version = try self.version(of: Request.apiKey, limit: versionLimit)
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
        return exchange { id in
            var frame = ByteBuffer()
            try Frame.write(
                request, version: version, correlationId: id, clientId: clientId, into: &frame)
            return frame
        }.flatMapThrowing { frame in
            var frame = frame
            do {
                _ = try ResponseHeader(from: &frame, to: Request.apiKey, version: version)
                return try Request.Response(from: &frame, version: version)
            } catch {
                throw ClientError(
                    .badAnswer,
                    """
                    \(endpoint) answered \(Request.apiKey.name) with bytes that are no answer: \
                    \(error)
                    """
                )
            }
        }
    }

    /// Sends what nobody answers (Produce with acks 0); done when the bytes are written.
    package func sendUnanswered(
        _ request: some KafkaRequest, versionLimit: Int16 = .max
    ) -> EventLoopFuture<Void> {
        do {
            let key = type(of: request).apiKey
            let version = try self.version(of: key, limit: versionLimit)
            var frame = ByteBuffer()
            try Frame.write(
                request, version: version, correlationId: 0, clientId: clientId, into: &frame)
            return channel.writeAndFlush(frame)
        } catch {
            return channel.eventLoop.makeFailedFuture(ClientError(describing: error, on: endpoint))
        }
    }

    /// Ends the connection; requests that wait fail.
    package func close() {
        channel.close(promise: nil)
    }

    private func exchange(
        _ encode: @escaping @Sendable (Int32) throws -> ByteBuffer
    ) -> EventLoopFuture<ByteBuffer> {
        let promise = channel.eventLoop.makePromise(of: ByteBuffer.self)
        if channel.eventLoop.inEventLoop {
            handler.value.send(promise, encode: encode)
        } else {
            channel.eventLoop.execute { handler.value.send(promise, encode: encode) }
        }
        return promise.futureResult
    }
}
