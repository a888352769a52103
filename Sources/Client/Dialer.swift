// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: opens connections, in plaintext or over TLS.
//
// Immutable; safe to use from any thread. What a handler learns later (a failed handshake, a closed
// connection) reaches it as an event in its pipeline, `ClientError(describing:)` words it.

import Glibc
import NIOCore
import NIOPosix
import Transport

/// Opens connections to brokers with the same options.
package struct Dialer: Sendable {
    let options: ConnectionOptions
    private let context: TLSContext?

    /// Loads the certificates, if there are any. `applicationProtocols`: what ALPN offers.
    package init(
        _ options: ConnectionOptions, applicationProtocols: [String] = []
    ) throws(ClientError) {
        self.options = options
        context = try options.certificates?.context(applicationProtocols: applicationProtocols)
    }

    /// Connects, on a loop of `group`; `handlers` are added in front of everything that happens.
    /// - Parameter receiveBytes: how much one read takes at most.
    func dial(
        _ endpoint: Endpoint, on group: any EventLoopGroup, receiveBytes: Int = 64 * 1024,
        handlers: @escaping @Sendable (any Channel) throws -> [any ChannelHandler]
    ) -> EventLoopFuture<any Channel> {
        ClientBootstrap(group: group)
            .connectTimeout(.milliseconds(options.connectTimeoutMs))
            .channelOption(.socketOption(.so_reuseaddr), value: 1)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: receiveBytes)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let context {
                        try pipeline.addHandler(
                            TLSHandler.client(context: context, host: endpoint.host))
                    }
                    for handler in try handlers(channel) { try pipeline.addHandler(handler) }
                }
            }
            .connect(host: endpoint.host, port: endpoint.port)
            .flatMapErrorThrowing { error in throw unreachable(endpoint, error) }
    }

    private func unreachable(_ endpoint: Endpoint, _ error: any Error) -> ClientError {
        if let error = error as? ClientError { return error }
        if let error = error as? TransportError {
            return ClientError(.invalidArgument, error.message)
        }
        let reason: String
        switch error {
        case is NIOConnectionError:
            let failures = (error as? NIOConnectionError)?.connectionErrors ?? []
            reason = failures.first.map { Self.words($0.error) } ?? "the host name is not known"
        case ChannelError.connectTimeout:
            reason = "no answer in \(options.connectTimeoutMs) ms"
        default: reason = Self.words(error)
        }
        return ClientError(
            .unreachable,
            """
            cannot connect to \(endpoint): \(reason). Is the broker running, and is this its \
            address? 'martlet dev' starts one
            """
        )
    }

    private static func words(_ error: any Error) -> String {
        guard let error = error as? IOError else { return "\(error)" }
        return switch error.errnoCode {
        case ECONNREFUSED: "connection refused"
        case EHOSTUNREACH: "no route to the host"
        case ENETUNREACH: "the network is unreachable"
        default: error.description
        }
    }
}

extension ClientError {
    /// What happened to a connection, for the one who waits for an answer on it.
    init(describing error: any Error, on endpoint: Endpoint) {
        switch error {
        case let error as ClientError: self = error
        case let error as TLSError:
            self.init(.connection, "TLS with \(endpoint) failed: \(error.message)")
        default: self.init(.connection, "the connection to \(endpoint) failed: \(error)")
        }
    }

    /// The end of a connection that was still needed.
    static func closed(_ endpoint: Endpoint, hasAnswered: Bool, isSecure: Bool) -> ClientError {
        guard !hasAnswered else {
            return ClientError(.connection, "\(endpoint) closed the connection")
        }
        let hint =
            isSecure
            ? "it may not speak TLS, or not accept the certificate; its log says why"
            : "it may expect TLS (--ca, --cert, --key), or not be a broker"
        return ClientError(
            .connection, "\(endpoint) closed the connection before it answered: \(hint)")
    }
}
