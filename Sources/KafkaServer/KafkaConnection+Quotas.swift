// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what a connection's requests cost its client in quotas, and the waiting that follows.
//
//   reading --a charge says to wait--> muted: no request begins, nothing is read --timer--> reading
//
// The answer goes at once and says for how long (KIP-219); requests that have begun are finished. A request is charged when it
// begins, so that those behind it wait; records are charged when they are about to be sent. A request's own
// share of the loop's time is known when it is over: the next one is told.

import Bytes
import Engine
import KafkaWire
import NIOCore

extension KafkaConnection {
    var quotaClient: QuotaClient { QuotaClient(principal: login.principal, clientId: clientId ?? "") }

    /// Charges a request that is about to begin, and mutes the connection if its client is over a quota. Returns for how many ms.
    func charge(_ apiKey: Int16, bytes: Int) -> Int32 {
        guard login.isOver else { return 0 }
        switch ApiKey(rawValue: apiKey) {
        case .saslHandshake, .saslAuthenticate: return 0
        default: break
        }
        let quotas = server.engine.quotas
        var throttleMs = quotas.limitsTime ? quotas.charge(quotaClient, timeNs: 0) : 0
        if apiKey == ApiKey.produce.rawValue {
            throttleMs = max(throttleMs, quotas.charge(quotaClient, .producerByteRate, Double(bytes)))
        }
        mute(forMs: throttleMs)
        return throttleMs
    }

    /// The loop's time that a request took until its handler gave the loop back.
    func noteTime(sinceNs startedNs: UInt64) {
        // Whoever has not said who it is uses up nobody's share.
        guard login.isOver else { return }
        let quotas = server.engine.quotas
        quotas.note(quotaClient, timeNs: server.engine.clock.monotonicNs() &- startedNs)
    }

    /// How much of the time is left for which the connection is muted.
    var mutedMs: Int32 {
        guard let muted else { return 0 }
        let leftNs = (muted.until - loop.now).nanoseconds
        return leftNs > 0 ? Int32(clamping: (leftNs + 999_999) / 1_000_000) : 0
    }

    func mute(forMs throttleMs: Int32) {
        guard throttleMs > 0 else { return }
        let end = loop.now + .milliseconds(Int64(throttleMs))
        if let muted, muted.until >= end { return }
        muted?.timer.cancel()
        muted = (
            end,
            loop.scheduleTask(deadline: end) { [weak self] in
                self?.muted = nil
                self?.resume()
            }
        )
    }
}

extension Exchange {
    /// The response with the throttle time in it, if it has a place for it: what is left of it, for clients begin to wait when they
    /// are told, and a long poll may have waited for as long already.
    func throttled<Response: KafkaResponse>(_ response: Response) -> Response {
        guard throttleTimeMs > 0, var throttled = response as? any ThrottledResponse else { return response }
        throttled.throttleTimeMs = min(throttleTimeMs, connection.mutedMs)
        // It is what it was.
        return throttled as? Response ?? response
    }

    /// The most bytes of records that an answer should have.
    var answerBytesMax: Int {
        engine.quotas.isInForce ? engine.quotas.answerMax(connection.quotaClient, .consumerByteRate) : .max
    }

    /// Charges records that are about to be sent and mutes the connection if they are too many. `isHeld`: they must not be sent.
    func charging(records bytes: Int) -> (exchange: Exchange, isHeld: Bool) {
        guard engine.quotas.isInForce else { return (self, false) }
        let (throttleMs, isHeld) = engine.quotas.chargeAnswer(connection.quotaClient, .consumerByteRate, Double(bytes))
        connection.mute(forMs: throttleMs)
        var charged = self
        charged.throttleTimeMs = max(throttleTimeMs, throttleMs)
        return (charged, isHeld)
    }

    /// The same for records that are sent in any case.
    func charged(records bytes: Int) -> Exchange {
        guard engine.quotas.isInForce else { return self }
        let throttleMs = engine.quotas.charge(connection.quotaClient, .consumerByteRate, Double(bytes))
        connection.mute(forMs: throttleMs)
        var charged = self
        charged.throttleTimeMs = max(throttleTimeMs, throttleMs)
        return charged
    }
}
