// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a thread that works when it is woken, and now and then by itself.
//
// The only thread that this module starts. The work runs outside of any lock; a wake-up during the work is not lost.
// It uses the machine's monotonic clock: with a simulated clock nobody starts it, and rounds are run by hand.

import CLinux
import Glibc
import Synchronization

/// One thread with a bell. Safe to use from any thread.
@safe final class SyncThread: @unchecked Sendable {
    // Unchecked: the semaphore lives from init to deinit, by when the thread has ended; sem_post and
    // sem_clockwait may be called from any thread. All else is immutable or guarded by `state`.
    private let bell: UnsafeMutablePointer<sem_t>
    private let name: String
    private let intervalMs: Int
    private let state = Mutex(State())

    private struct State {
        var thread: pthread_t?
        var isStopping = false
    }

    init(name: String, intervalMs: Int) {
        self.name = name
        self.intervalMs = intervalMs
        // SAFETY: one semaphore, initialised here, destroyed and freed in deinit.
        unsafe bell = .allocate(capacity: 1)
        unsafe sem_init(bell, 0, 0)
    }

    deinit {
        // SAFETY: a running thread holds a reference, so it has ended, and nobody else has one.
        unsafe sem_destroy(bell)
        unsafe bell.deallocate()
    }

    /// Starts the thread, which lives until `stop` or until `work` returns false. `work` is told whether the interval has
    /// passed since it was last told so.
    func start(_ work: @escaping @Sendable (_ isDue: Bool) -> Bool) {
        state.withLock { state in
            precondition(state.thread == nil, "the thread is started once")
            let start = ThreadStart { self.run(work) }
            var thread = pthread_t()
            // SAFETY: the new thread takes over the retained box and releases it; `thread` is a live local.
            let failure = unsafe pthread_create(&thread, nil, enterThread, Unmanaged.passRetained(start).toOpaque())
            precondition(failure == 0, "the system has no thread left for syncing")
            state.thread = thread
        }
    }

    /// Lets the work run soon.
    func wake() {
        // SAFETY: the semaphore lives as long as this object.
        unsafe sem_post(bell)
    }

    /// Ends the thread after the work that is under way.
    func stop() {
        let thread = state.withLock { state in
            defer { state.thread = nil }
            state.isStopping = true
            return state.thread
        }
        guard let thread else { return }
        wake()
        if pthread_equal(thread, pthread_self()) != 0 { return }
        _ = pthread_join(thread, nil)
    }

    private func run(_ work: (_ isDue: Bool) -> Bool) {
        // SAFETY: the name is a terminated string for the duration of the call.
        unsafe martlet_name_thread(name)
        var due = Self.now(plusMs: intervalMs)
        while true {
            // SAFETY: the semaphore outlives the thread; `due` is a live local.
            _ = unsafe martlet_sem_wait_until(bell, &due)
            if state.withLock({ $0.isStopping }) { return }
            let now = Self.now(plusMs: 0)
            let isDue = (now.tv_sec, now.tv_nsec) >= (due.tv_sec, due.tv_nsec)
            if isDue { due = Self.now(plusMs: intervalMs) }
            guard work(isDue) else { return }
        }
    }

    private static func now(plusMs: Int) -> timespec {
        var time = timespec()
        // SAFETY: `time` is a live local for the duration of the call.
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        let nanoseconds = time.tv_nsec + (plusMs % 1000) * 1_000_000
        time.tv_sec += plusMs / 1000 + nanoseconds / 1_000_000_000
        time.tv_nsec = nanoseconds % 1_000_000_000
        return time
    }
}

/// Runs `body` with every number below `count`, on the calling thread and up to `threads` - 1 others, and returns when all are
/// done. If the system has no threads left, on fewer.
func runInParallel(_ count: Int, threads: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let next = SharedCounter()
    let work: @Sendable () -> Void = {
        while true {
            let number = next.value.add(1, ordering: .relaxed).oldValue
            guard number < count else { return }
            body(number)
        }
    }
    var started: [pthread_t] = []
    for _ in 1..<max(1, min(threads, count)) {
        let start = ThreadStart(work)
        var thread = pthread_t()
        let box = unsafe Unmanaged.passRetained(start)
        // SAFETY: the new thread takes over the retained box and releases it; `thread` is a live local.
        guard unsafe pthread_create(&thread, nil, enterThread, box.toOpaque()) == 0 else {
            unsafe box.release()
            break
        }
        started.append(thread)
    }
    work()
    for thread in started { _ = pthread_join(thread, nil) }
}

private final class SharedCounter: Sendable {
    let value = Atomic<Int>(0)
}

/// What a new thread runs; a class, so that it can be handed over through C.
private final class ThreadStart {
    let body: () -> Void

    init(_ body: @escaping () -> Void) { self.body = body }
}

private func enterThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let argument = unsafe argument {
        // SAFETY: the pointer is the box that `start` retained for this thread.
        unsafe Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue().body()
    }
    return nil
}
