// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: who waits for an answer of the group coordinator, and on which event loop.

import NIOCore

struct GroupWaiter<Answer: Sendable>: Sendable {
    let loop: any EventLoop
    let completion: @Sendable (Answer) -> Void

    func delivery(of answer: Answer) -> GroupDelivery {
        delivery(of: answer) { _ in answer }
    }

    /// `failed` is the answer if the log cannot keep what the answer tells of.
    func delivery(of answer: Answer, failed: @escaping @Sendable (GroupError) -> Answer) -> GroupDelivery {
        let completion = completion
        return GroupDelivery(loop: loop) { completion($0.map(failed) ?? answer) }
    }
}

/// An answer on its way. Collected under the coordinator's lock, delivered after it.
struct GroupDelivery: Sendable {
    let loop: any EventLoop
    private(set) var error: GroupError?
    private let run: @Sendable (GroupError?) -> Void

    init(loop: any EventLoop, run: @escaping @Sendable (GroupError?) -> Void) {
        self.loop = loop
        self.run = run
    }

    /// The same, if what it tells of could not be kept.
    func failing(_ error: GroupError) -> GroupDelivery {
        var failed = self
        failed.error = error
        return failed
    }

    func deliver() {
        let (run, error) = (run, error)
        if loop.inEventLoop {
            run(error)
        } else {
            loop.execute { run(error) }
        }
    }
}
