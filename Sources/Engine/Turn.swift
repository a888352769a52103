// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what one event loop appended in one turn, written together.
//
// An event loop serves many connections in one turn. Their appends wait in the partitions' tails until the turn
// ends; then each touched partition is written with one call and everybody is answered. A record is
// acknowledged only after the write (acks=1) or after the sync that follows it (acks=all).
// Owned by its event loop; nothing here is shared.

import NIOCore
import Records

/// How an append ended.
package struct AppendResult: Sendable {
    package var baseOffset: Int64
    /// ms since the epoch with LogAppendTime, otherwise -1.
    package var logAppendTimeMs: Int64
    package var logStartOffset: Int64
}

package typealias AppendCompletion = @Sendable (Result<AppendResult, EngineError>) -> Void

/// When an append is acknowledged (Kafka's acks).
package enum Acks: Int16, Sendable {
    case none = 0
    case leader = 1
    case all = -1
}

/// Something that has work left for the end of a turn, such as flushing replies.
package protocol TurnParticipant: AnyObject, Sendable {
    /// All completions of this turn have run.
    func turnEnded()
}

/// Something that gathers what is to be appended together, until the turn writes.
package protocol TurnGatherer: AnyObject, Sendable {
    /// The turn is about to write: append now.
    func turnEnding()
}

package final class Turn: @unchecked Sendable {
    // Unchecked because it crosses threads only as a reference inside closures that run on `loop`; every
    // entry point checks that.
    package let loop: any EventLoop
    /// For looking into compressed batches; one a loop, because it is costly to make.
    private(set) lazy var decompressor = Decompressor()
    /// For topics that keep their batches in a codec of their own.
    private(set) lazy var compressor = Compressor()
    /// Bytes that came out of `decompressor` so far, in all.
    package var decompressedBytes: Int { decompressor.bytesOut }
    private var appends: [Append] = []
    private var partitions: [Partition] = []
    private var gatherers: [any TurnGatherer] = []
    private var afterwards: [any TurnParticipant] = []
    private var isScheduled = false
    private var isRunning = false

    private struct Append {
        var partition: Partition
        var group: WriteGroup
        var result: AppendResult
        var endOffset: Int64
        var needsSync: Bool
        var completion: AppendCompletion
    }

    package init(loop: any EventLoop) {
        self.loop = loop
    }

    /// An append of this turn: `completion` runs when its bytes are written, or durable if `needsSync`.
    func add(
        _ partition: Partition, group: WriteGroup, result: AppendResult, endOffset: Int64, needsSync: Bool,
        completion: @escaping AppendCompletion
    ) {
        loop.assertInEventLoop()
        appends.append(
            Append(
                partition: partition, group: group, result: result, endOffset: endOffset, needsSync: needsSync,
                completion: completion))
        if !partitions.contains(where: { $0 === partition }) { partitions.append(partition) }
        schedule()
    }

    /// Calls `gatherer` before this turn writes.
    package func beforeWriting(_ gatherer: any TurnGatherer) {
        loop.assertInEventLoop()
        gatherers.append(gatherer)
        schedule()
    }

    /// Calls `participant` once all completions of this turn have run.
    package func atEnd(_ participant: any TurnParticipant) {
        loop.assertInEventLoop()
        afterwards.append(participant)
        if !isRunning { schedule() }
    }

    /// Runs completions that another thread has made ready, on the loop, then what they left for the end.
    func deliver(_ completions: [@Sendable () -> Void]) {
        loop.execute {
            self.isRunning = true
            for completion in completions { completion() }
            self.runAfterwards()
            self.isRunning = false
        }
    }

    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        loop.execute { self.run() }
    }

    private func run() {
        isRunning = true
        defer { isRunning = false }
        while let gatherer = gatherers.popLast() { gatherer.turnEnding() }
        isScheduled = false
        // Taken rather than copied, and given back emptied: the next turn is likely to be as large.
        var appends: [Append] = []
        var partitions: [Partition] = []
        swap(&appends, &self.appends)
        swap(&partitions, &self.partitions)
        for partition in partitions { partition.writePending() }
        for append in appends {
            if let failure = append.group.failure(endOffset: append.endOffset) {
                append.completion(.failure(failure))
            } else if append.needsSync {
                append.partition.whenSynced(
                    append.endOffset, turn: self, result: append.result, completion: append.completion)
            } else {
                append.completion(.success(append.result))
            }
        }
        appends.removeAll(keepingCapacity: appends.count <= 1024)
        partitions.removeAll(keepingCapacity: true)
        if self.appends.isEmpty { swap(&appends, &self.appends) }
        if self.partitions.isEmpty { swap(&partitions, &self.partitions) }
        runAfterwards()
    }

    private func runAfterwards() {
        while !afterwards.isEmpty {
            let participants = afterwards
            afterwards = []
            for participant in participants { participant.turnEnded() }
            // The next turn is likely to be as large: keep the memory, if nobody came meanwhile.
            if afterwards.isEmpty {
                afterwards = consume participants
                afterwards.removeAll(keepingCapacity: true)
            }
        }
    }
}
