// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: who waits for an answer of the group coordinator, and on which event loop.

import NIOCore

struct GroupWaiter<Answer: Sendable>: Sendable {
    let loop: any EventLoop
    let completion: @Sendable (Answer) -> Void

    func delivery(of answer: Answer) -> GroupDelivery {
        let completion = completion
        return GroupDelivery(loop: loop) { completion(answer) }
    }
}

/// An answer on its way. Collected under the coordinator's lock, delivered after it.
struct GroupDelivery: Sendable {
    let loop: any EventLoop
    let run: @Sendable () -> Void

    func deliver() {
        if loop.inEventLoop {
            run()
        } else {
            loop.execute(run)
        }
    }
}
