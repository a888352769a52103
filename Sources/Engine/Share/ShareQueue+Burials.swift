// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the dead letters of a share queue: written first, then the records are done with.
//
// A letter that cannot be written is tried again until the queue is closed; a crash in between gives two letters, never none.

import Logging
import NIOCore
import Synchronization

extension ShareQueue {
    /// Between attempts to write a dead letter.
    private static let retryMs: Int64 = 1_000

    func bury(
        _ letters: [SharePartition.DeadLetter], _ settings: ShareGroupSettings, on loop: any EventLoop, answer: ShareAnswer?
    ) {
        context.deadLetters.write(letters, of: partition, group: key.groupId, settings, on: loop) { error in
            if let error {
                self.context.logger.error(
                    "dead letters were not written; they are tried again",
                    metadata: ["group": "\(self.key.groupId)", "partition": "\(self.partition.name)", "cause": "\(error)"])
                answer?.deliver(.storageFailure)
                loop.scheduleTask(in: .milliseconds(Self.retryMs)) { [weak self] in
                    guard let self, !self.state.withLock({ $0.isClosed }) else { return }
                    self.bury(letters, self.settings(), on: loop, answer: nil)
                }
                return
            }
            self.change(on: loop, settings.rules) { state in
                state.machine.buried(letters.map(\.offset))
                state.needsWrite = true
                if let answer { state.answers.append(answer) }
            }
        }
    }

    /// After a start: dead letters that a crash interrupted.
    func resumeBurials(on loop: any EventLoop) {
        let rules = settings().rules
        let letters = state.withLock { state in
            state.machine.unburied.flatMap { run in
                (run.first...run.last).map { offset in
                    SharePartition.DeadLetter(
                        offset: offset, deliveryCount: run.deliveryCount,
                        cause: run.deliveryCount >= rules.deliveryCountLimit ? .deliveryCountExceeded : .rejected)
                }
            }
        }
        if !letters.isEmpty { bury(letters, settings(), on: loop, answer: nil) }
    }
}
