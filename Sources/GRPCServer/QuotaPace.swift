// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: holds calls back whose client is over a quota of bytes (`CallTime`: of time). There is no status for it: streams go slower. Only what creates and
// deletes partitions is refused, as Kafka's newer versions do.
//
//   free --charge says to wait--> held --timer--> free
//
// A stream of records to publish is not read while it is held, so HTTP/2's window stops the caller; a subscription
// sends no message; a single Publish waits before its records are appended, so that a deadline that
// passes meanwhile leaves nothing behind. Confined to its call's loop.

import Engine
import GRPCWire
import NIOCore
import Transport

final class QuotaPace {
    private let call: GRPCCall
    private let quotas: ClientQuotas
    private let key: QuotaKey
    private let onFree: () -> Void
    private var timer: Scheduled<Void>?

    init(_ call: GRPCCall, _ key: QuotaKey, onFree: @escaping () -> Void) {
        self.call = call
        quotas = call.engine.quotas
        self.key = key
        self.onFree = onFree
    }

    var isHeld: Bool { timer != nil }

    func charge(_ bytes: Int) {
        guard quotas.isInForce, bytes > 0 else { return }
        let throttleMs = quotas.charge(call.quotaClient, key, Double(bytes))
        guard throttleMs > 0 else { return }
        timer?.cancel()
        let bound = NIOLoopBound(self, eventLoop: call.loop)
        timer = call.loop.scheduleTask(in: .milliseconds(Int64(throttleMs))) {
            let pace = bound.value
            pace.timer = nil
            pace.onFree()
        }
    }

    /// The most one message should have, so that it takes about a second to be allowed for.
    func messageBytes(atMost bytes: Int) -> Int {
        guard quotas.isInForce, let limit = quotas.limit(call.quotaClient, key) else { return bytes }
        return min(bytes, max(1, Int(min(limit, Double(Int32.max)))))
    }

    func end() {
        timer?.cancel()
        timer = nil
    }
}

extension GRPCCall {
    var quotaClient: QuotaClient { QuotaClient(principal: principal, clientId: clientId) }

    /// Counts partitions that are about to be created or deleted. Throws while the caller owes time for earlier ones.
    func chargeMutations(_ partitions: Int) throws(GRPCStatus) {
        guard engine.quotas.isInForce else { return }
        let (throttleMs, isRefused) = engine.quotas.chargeMutations(quotaClient, partitions, isStrict: true)
        guard isRefused else { return }
        throw GRPCStatus(
            .resourceExhausted, "QUOTA_EXCEEDED", [("retryAfterMs", "\(throttleMs)"), ("quota", "controller_mutation_rate")],
            retryMs: Int64(throttleMs),
            "\(principal) is over its quota of partitions to create and delete; try again in \(throttleMs) ms")
    }

    /// Runs `body` when the caller may publish so many bytes; not at all if the call ends before. Throws if too much waits already.
    func whenMayPublish(_ bytes: Int, _ body: @escaping () -> Void) throws(GRPCStatus) {
        let throttleMs = engine.quotas.isInForce ? engine.quotas.charge(quotaClient, .producerByteRate, Double(bytes)) : 0
        guard throttleMs > 0 else { return body() }
        guard let place = HeldCall(connection) else {
            engine.quotas.note(quotaClient, .producerByteRate, -Double(bytes))
            throw .tooManyHeld(principal, .producerByteRate, throttleMs)
        }
        guard connection.bufferedBytes + bytes <= Limits.delayedPublishBytes else {
            engine.quotas.note(quotaClient, .producerByteRate, -Double(bytes))
            throw GRPCStatus(
                .resourceExhausted, "QUOTA_EXCEEDED", [("retryAfterMs", "\(throttleMs)"), ("quota", "producer_byte_rate")],
                retryMs: Int64(throttleMs),
                "\(principal) is over its quota of bytes to publish, and \(Limits.delayedPublishBytes) bytes wait already;"
                    + " try again in \(throttleMs) ms")
        }
        guard server.memory.hasRoom() else {
            engine.quotas.note(quotaClient, .producerByteRate, -Double(bytes))
            throw GRPCStatus(
                .resourceExhausted, "UNFINISHED_REQUESTS", retryMs: Int64(throttleMs),
                "unfinished requests fill the broker's memory; try again in \(throttleMs) ms")
        }
        connection.bufferedBytes += bytes
        server.memory.adjust(by: bytes)
        let delay = NIOLoopBound(DelayedPublish(self, bytes, place, body), eventLoop: loop)
        let timer = loop.scheduleTask(in: .milliseconds(Int64(throttleMs))) { delay.value.end(runs: true) }
        whenEnded {
            timer.cancel()
            delay.value.end(runs: false)
        }
    }
}

/// A Publish that waits.
private final class DelayedPublish {
    private let call: GRPCCall
    private let bytes: Int
    private let place: HeldCall
    private var body: (() -> Void)?

    init(_ call: GRPCCall, _ bytes: Int, _ place: HeldCall, _ body: @escaping () -> Void) {
        self.call = call
        self.bytes = bytes
        self.place = place
        self.body = body
    }

    func end(runs: Bool) {
        guard let body else { return }
        self.body = nil
        call.connection.bufferedBytes -= bytes
        call.server.memory.adjust(by: -bytes)
        place.release()
        if runs { call.timed(body) }
    }
}
