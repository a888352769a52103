// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: SIGTERM and SIGINT.
//
// Both are blocked in every thread and taken by the main thread with sigwait, so nothing runs inside a signal handler.

import Glibc

struct TerminationSignals {
    private let set: sigset_t

    /// Call on the main thread before any other thread is started: threads inherit what is blocked.
    init() {
        var set = sigset_t()
        // SAFETY: `set` is a live local for the duration of each call.
        unsafe sigemptyset(&set)
        unsafe sigaddset(&set, SIGTERM)
        unsafe sigaddset(&set, SIGINT)
        unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        self.set = set
    }

    /// Blocks the calling thread until somebody wants the process to end.
    func wait() -> CInt {
        var set = set
        var number: CInt = 0
        // SAFETY: both are live locals for the duration of the call.
        while unsafe sigwait(&set, &number) != 0 {}
        return number
    }
}
