// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the one way to wait for records, for Kafka's long polls and for gRPC subscriptions.
//
//   created --register on each partition--> waiting --enough bytes | deadline | partition gone | cancel--> done
//
// A waiter completes exactly once (an atomic exchange decides who does it) and then runs its body on its own
// event loop, never on the caller's stack and never under a partition's lock. It counts bytes; it does not read.

import NIOCore
import Synchronization

/// One long poll. Created, registered and cancelled on its loop; signalled from any thread.
package final class Waiter: Sendable {
    private let loop: any EventLoop
    private let bytesNeeded: Atomic<Int>
    private let isDone = Atomic<Bool>(false)
    private let onReady: @Sendable () -> Void
    /// Guarded by the loop: set by `arm`, read on completion there.
    private let registration: NIOLoopBoundBox<Registration>

    private struct Registration {
        var partitions: [Partition] = []
        var deadline: Scheduled<Void>?
    }

    /// `onReady` runs once, on `loop`, after at least `bytesNeeded` bytes arrived, the deadline passed, or a
    /// partition went away.
    package init(loop: any EventLoop, bytesNeeded: Int, onReady: @escaping @Sendable () -> Void) {
        self.loop = loop
        self.bytesNeeded = Atomic(max(1, bytesNeeded))
        self.onReady = onReady
        registration = NIOLoopBoundBox(Registration(), eventLoop: loop)
    }

    /// Starts waiting on each partition from the end that the caller saw there. If anything has arrived since, it
    /// counts at once. With no deadline it waits for ever.
    package func arm(on targets: [(partition: Partition, seenEnd: Int64)], deadline: TimeAmount?) {
        registration.value.partitions = targets.map(\.partition)
        if let deadline {
            registration.value.deadline = loop.scheduleTask(in: deadline) { self.complete() }
        }
        for target in targets where !isDone.load(ordering: .acquiring) {
            target.partition.register(self, seenEnd: target.seenEnd)
        }
        if isDone.load(ordering: .acquiring) { release() }
    }

    /// Bytes were written to one of the partitions.
    func arrived(bytes: Int) {
        if bytesNeeded.subtract(bytes, ordering: .acquiringAndReleasing).newValue <= 0 { complete() }
    }

    /// Completes now, whatever has arrived (deadline, partition deleted, the broker stops).
    package func complete() {
        guard !isDone.exchange(true, ordering: .acquiringAndReleasing) else { return }
        loop.execute {
            self.release()
            self.onReady()
        }
    }

    /// There is no room to wait for records: it looks again in a moment. At once would be for ever, for whoever waits again then. On the loop.
    func completeSoon() {
        loop.scheduleTask(in: Limits.fullPartitionDelay) { self.complete() }
    }

    /// Gives up without running the body. On the loop.
    package func cancel() {
        guard !isDone.exchange(true, ordering: .acquiringAndReleasing) else { return }
        release()
    }

    /// Completed or cancelled: nothing can happen any more.
    package var isFinished: Bool { isDone.load(ordering: .acquiring) }

    private func release() {
        registration.value.deadline?.cancel()
        registration.value.deadline = nil
        for partition in registration.value.partitions { partition.unregister(self) }
        registration.value.partitions = []
    }
}
