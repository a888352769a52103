// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: one worker of a queue, for a thread that may wait.
//
// Receives jobs over martlet.v1.Work/Receive, gives them one after the other to a body, and answers what the body says. While the
// body works, the lease of its job is extended. An answer that could not be made durable ends the session.

import Contract
import NIOCore
import Records
import SwiftProtobuf

/// What becomes of a job.
package enum WorkOutcome: Equatable, Sendable {
    case done
    case again(delayMs: UInt64)
    case dead(reason: String)
}

/// A job.
package struct WorkJob: Sendable {
    package var record: ReadRecord
    package var deliveryCount: Int
}

package struct WorkOptions: Equatable, Sendable {
    package var group: String
    package var topics: [String]
    /// Jobs that are held at once.
    package var maxInFlight = 1
    /// 0: the group's.
    package var leaseMs: UInt32 = 0
    package var startsEarliest = true
    /// nil: the group's; empty: none.
    package var deadLetterTopic: String?
    /// Stop after so many.
    package var maxJobs: Int?
    /// Stop when there was nothing for so long.
    package var idleMs: Int64?

    package init(group: String, topics: [String]) {
        self.group = group
        self.topics = topics
    }
}

package struct WorkSession {
    private let options: WorkOptions
    private let exchange: GRPCExchange<Martlet_V1_ReceiveResponse>
    private let client: GRPCClient

    package init(_ client: GRPCClient, _ options: WorkOptions) throws(ClientError) {
        self.client = client
        self.options = options
        exchange = try client.open(GRPCClient.receivePath)
    }

    /// Works until there is nothing more to do, the body says nil, or the broker ends it; returns how many jobs were settled.
    package func run(_ body: (WorkJob) throws(ClientError) -> WorkOutcome?) throws(ClientError) -> Int {
        try exchange.send(
            Martlet_V1_ReceiveRequest.with {
                $0.open.group = options.group
                $0.open.topics = options.topics
                $0.open.maxInFlight = UInt32(min(options.maxInFlight, options.maxJobs ?? .max))
                $0.open.leaseMs = options.leaseMs
                $0.open.origin = options.startsEarliest ? .earliest : .latest
                if let topic = options.deadLetterTopic { $0.open.deadLetterTopic = topic }
            })
        var settled = 0
        var leaseMs: Int64 = 0
        var isFinished = false
        var idle = watchIdle()
        while let answer = try exchange.next() {
            switch answer.kind {
            case .opened(let opened): leaseMs = Int64(opened.leaseMs)
            case .items(let items):
                idle?.cancel()
                for item in items.items where !isFinished {
                    let stopExtending = extend(item.deliveryID, leaseMs)
                    defer { stopExtending() }
                    guard let outcome = try body(Self.job(item)) else {
                        isFinished = true
                        break
                    }
                    try exchange.send(Self.request(item.deliveryID, outcome))
                    settled += 1
                    if settled == options.maxJobs { isFinished = true }
                }
                if isFinished { exchange.finish() } else { idle = watchIdle() }
            case .confirmed(let confirmed): try check(confirmed)
            case nil: break
            }
        }
        return settled
    }

    private func watchIdle() -> Scheduled<Void>? {
        options.idleMs.map { exchange.finishLater(.milliseconds($0)) }
    }

    private func extend(_ id: UInt64, _ leaseMs: Int64) -> () -> Void {
        exchange.repeating(
            Martlet_V1_ReceiveRequest.with { $0.extend.deliveryIds = [id] }, every: .milliseconds(max(50, leaseMs / 3)))
    }

    /// Jobs that were not held any more are somebody else's by now; that is a queue's daily life.
    private func check(_ confirmed: Martlet_V1_WorkConfirmed) throws(ClientError) {
        guard confirmed.result == .failed else { return }
        throw ClientError(.refused, "the broker could not make an answer durable; the job may come again")
    }

    private static func request(_ id: UInt64, _ outcome: WorkOutcome) -> Martlet_V1_ReceiveRequest {
        .with {
            switch outcome {
            case .done: $0.ack.deliveryIds = [id]
            case .again(let delayMs):
                $0.nack.deliveryIds = [id]
                $0.nack.delayMs = delayMs
            case .dead(let reason):
                $0.reject.deliveryIds = [id]
                $0.reject.reason = reason
            }
        }
    }

    private static func job(_ item: Martlet_V1_WorkItem) -> WorkJob {
        let headers = item.headers.map { header in
            RecordHeader(key: header.key, value: header.hasValue ? ByteBuffer(bytes: header.value) : nil)
        }
        return WorkJob(
            record: ReadRecord(
                topic: item.topic, partition: item.partition,
                record: Record(
                    offset: item.offset, timestamp: item.timestampMs,
                    key: item.hasKey ? ByteBuffer(bytes: item.key) : nil,
                    value: item.hasValue ? ByteBuffer(bytes: item.value) : nil, headers: headers)),
            deliveryCount: Int(item.deliveryCount))
    }
}

extension GRPCClient {
    /// Puts dead letters back; returns how many, and how many were left, in total.
    package func redrive(
        _ topic: String, group: String, maxRecords: Int?
    ) throws(ClientError) -> (redriven: Int, skipped: Int) {
        var total = (redriven: 0, skipped: 0)
        while true {
            let left = maxRecords.map { $0 - total.redriven } ?? .max
            guard left > 0 else { return total }
            let answer: Martlet_V1_RedriveResponse = try ask(
                Self.redrivePath,
                Martlet_V1_RedriveRequest.with {
                    $0.deadLetterTopic = topic
                    $0.group = group
                    $0.maxRecords = UInt32(min(left, 1000))
                })
            total.redriven += Int(answer.redriven)
            total.skipped += Int(answer.skipped)
            guard answer.hasMore_p, answer.redriven > 0 else { return total }
        }
    }
}
