// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: the signals that a broker listens to: SIGTERM and SIGINT to end, SIGHUP to read its files again.
//
// All are blocked in every thread and taken by the main thread with sigwait, so nothing runs inside a signal handler.

import Glibc

struct BrokerSignals {
    private let set: sigset_t

    /// Call on the main thread before any other thread is started: threads inherit what is blocked.
    init() {
        var set = sigset_t()
        // SAFETY: `set` is a live local for the duration of each call.
        unsafe sigemptyset(&set)
        for number in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&set, number) }
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        self.set = set
    }

    /// Blocks the calling thread until one of them comes.
    func wait() -> CInt {
        var set = set
        var number: CInt = 0
        // SAFETY: both are live locals for the duration of the call.
        while unsafe sigwait(&set, &number) != 0 {}
        return number
    }

    /// The next one that asks for the end.
    func waitForEnd() -> CInt {
        while true {
            let number = wait()
            if number != SIGHUP { return number }
        }
    }
}
