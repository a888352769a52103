// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: a listener that accepts no more than so many connections a second (KIP-612).
//
// What comes faster waits in the kernel's queue. A second's worth may come at once; each connection beyond that lets the listener
// pause until it is paid for. Owned by the listener's event loop.

import Logging
import NIOCore

/// Connections that may be accepted, refilled at the rate. A plain value.
struct AcceptBudget {
    private let rate: Double
    private var left: Double
    private var filled: NIODeadline

    init(rate: Int, now: NIODeadline) {
        self.rate = Double(rate)
        left = Double(rate)
        filled = now
    }

    /// Takes one; returns for how long none may be taken.
    mutating func take(now: NIODeadline) -> TimeAmount {
        left = min(rate, left + Double((now - filled).nanoseconds) / 1e9 * rate) - 1
        filled = now
        return left < 0 ? .nanoseconds(Int64(-left / rate * 1e9)) : .zero
    }
}

final class AcceptPacingHandler: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let rate: Int
    private let rules: DetectionRules
    private var budget: AcceptBudget
    private var resumeAt = NIODeadline.uptimeNanoseconds(0)

    init(rate: Int, rules: DetectionRules, now: NIODeadline) {
        self.rate = rate
        self.rules = rules
        budget = AcceptBudget(rate: rate, now: now)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let now = context.eventLoop.now
        let pause = budget.take(now: now)
        if pause > .zero { self.pause(context.channel, until: now + pause) }
        context.fireChannelRead(data)
    }

    private func pause(_ channel: any Channel, until end: NIODeadline) {
        if resumeAt < end, resumeAt > channel.eventLoop.now {
            resumeAt = end
            return
        }
        resumeAt = end
        rules.connectionLimits?.paced()
        rules.logger.warning(
            "connections come faster than \(rate) a second (max.connection.creation.rate); some wait",
            metadata: ["listener": "\(rules.options.name)"])
        // A listener that was closed refuses this, which is as good.
        _ = channel.setOption(.autoRead, value: false)
        resumeLater(channel)
    }

    private func resumeLater(_ channel: any Channel) {
        let bound = NIOLoopBound(self, eventLoop: channel.eventLoop)
        channel.eventLoop.scheduleTask(deadline: resumeAt) {
            if bound.value.resumeAt > channel.eventLoop.now { return bound.value.resumeLater(channel) }
            _ = channel.setOption(.autoRead, value: true)
        }
    }
}
