// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what a worker says about items: done, again, never again, or more time; and the confirmation of each.
//
// A settled item is the worker's no more from the moment it says so; the place it took is free when that is durable.

import Bytes
import Contract
import Engine
import GRPCWire
import SwiftProtobuf

extension Worker {
    func settle(_ kind: Martlet_V1_ReceiveRequest.OneOf_Kind) throws(GRPCStatus) {
        switch kind {
        case .open: break
        case .ack(let ack): try settle(ack.deliveryIds, .accept, of: "ack")
        case .nack(let nack):
            guard nack.delayMs <= Limits.nackDelayMsMax else {
                throw .invalid("nack.delay_ms", "delay_ms is above the \(Limits.nackDelayMsMax) allowed")
            }
            try settle(nack.deliveryIds, .release(delayMs: Int64(nack.delayMs)), of: "nack")
        case .reject(let reject):
            guard reject.reason.utf8.count <= Limits.rejectReasonBytes else {
                throw .invalid("reject.reason", "reason is longer than \(Limits.rejectReasonBytes) bytes")
            }
            try settle(reject.deliveryIds, .reject(reason: reject.reason), of: "reject")
        case .extend(let extend):
            try service.checkLease(extend.leaseMs, of: "extend")
            try settle(
                extend.deliveryIds, .renew(durationMs: extend.leaseMs == 0 ? leaseMs : Int64(extend.leaseMs)), of: "extend")
        }
    }

    private func settle(
        _ ids: [UInt64], _ outcome: ShareAcknowledgement.Outcome, of kind: String
    ) throws(GRPCStatus) {
        guard (1...Limits.deliveriesPerRequest).contains(ids.count) else {
            throw .invalid(
                "\(kind).delivery_ids", "delivery_ids has \(ids.count) entries; 1 to \(Limits.deliveriesPerRequest) are allowed")
        }
        items.dropExpired(nowMs: nowMs)
        let (held, unknown) = items.find(ids)
        if !unknown.isEmpty {
            heard()
            confirm(unknown, .notHeld)
        }
        for (queue, items) in held { settle(items, outcome, in: queue) }
    }

    private func settle(
        _ settled: [(id: UInt64, offset: Int64)], _ outcome: ShareAcknowledgement.Outcome, in queue: ShareQueue
    ) {
        let ids = settled.map(\.id)
        var acknowledgements: [ShareAcknowledgement] = []
        for item in settled {
            if let last = acknowledgements.last, last.last + 1 == item.offset {
                acknowledgements[acknowledgements.count - 1].last = item.offset
            } else {
                acknowledgements.append(ShareAcknowledgement(first: item.offset, last: item.offset, outcome: outcome))
            }
        }
        let isRenewal = outcome.renewalMs != nil
        if !isRenewal { items.remove(ids) }
        unconfirmed += ids.count
        let begunMs = nowMs
        queue.acknowledge(acknowledgements, id, on: call.loop) { [self] error in
            unconfirmed -= ids.count
            guard !call.hasEnded else { return }
            switch error {
            case nil:
                var deadlineMs: Int64 = 0
                if let durationMs = outcome.renewalMs {
                    items.renew(ids, deadlineMs: begunMs + durationMs)
                    deadlineMs = call.engine.clock.nowMs() + durationMs
                }
                confirm(ids, .done, deadlineMs: deadlineMs)
            case .storageFailure?: confirm(ids, .failed)
            case .invalidRecordState?, .invalidRequest?:
                // All or nothing: one that is lost must not take the others along.
                if settled.count > 1 {
                    for item in settled { settle([item], outcome, in: queue) }
                } else {
                    items.remove(ids)
                    confirm(ids, .notHeld)
                }
            case let error?: call.fail(GRPCStatus(error).about("group", group))
            }
            call.resume()
        }
    }

    private func confirm(_ ids: [UInt64], _ result: Martlet_V1_WorkResult, deadlineMs: Int64 = 0) {
        say(
            Martlet_V1_ReceiveResponse.with {
                $0.confirmed.deliveryIds = ids
                $0.confirmed.result = result
                $0.confirmed.leaseDeadlineMs = deadlineMs
            })
    }
}

extension ShareAcknowledgement.Outcome {
    /// nil: no renewal.
    fileprivate var renewalMs: Int64? { if case .renew(let durationMs?) = self { durationMs } else { nil } }
}
