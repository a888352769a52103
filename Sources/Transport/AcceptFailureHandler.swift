// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what a listener does when the kernel cannot accept.
//
// Without a file descriptor to give, accept fails and the listener stays readable: it must not be asked again at
// once. NIO's own AcceptBackoffHandler delays reads that are asked for, but after an error the one under way
// is never given up, so the loop spins; here the listener's automatic reads pause. Owned by its event loop.

import Glibc
import Logging
import NIOCore

/// Pauses a listener that is out of resources, and says so now and then.
final class AcceptFailureHandler: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let logger: Logger
    private let listenerName: String
    /// When a failure may be logged again.
    private var quietUntil = NIODeadline.uptimeNanoseconds(0)

    init(logger: Logger, listenerName: String) {
        self.logger = logger
        self.listenerName = listenerName
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if Self.isShortage(error) { pause(context.channel) }
        let now = NIODeadline.now()
        guard now >= quietUntil else { return }
        quietUntil = now + TransportLimits.acceptFailureLogInterval
        logger.error(
            "cannot accept connections: \(Self.explain(error))",
            metadata: ["listener": "\(listenerName)"])
    }

    /// Connections wait in the kernel's queue meanwhile.
    private func pause(_ channel: any Channel) {
        // A listener that was closed refuses both, which is as good.
        _ = channel.setOption(.autoRead, value: false)
        channel.eventLoop.scheduleTask(in: TransportLimits.acceptPause) {
            _ = channel.setOption(.autoRead, value: true)
        }
    }

    /// Whether trying again at once would fail again.
    private static func isShortage(_ error: any Error) -> Bool {
        guard let error = error as? IOError else { return false }
        return [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode)
    }

    private static func explain(_ error: any Error) -> String {
        guard let error = error as? IOError, [EMFILE, ENFILE].contains(error.errnoCode)
        else { return "\(error)" }
        return "no file descriptor is left; those that wait are accepted when one is closed. "
            + "Raise the limit (ulimit -n, or LimitNOFILE of the service), or lower max.connections"
    }
}
