// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: the plain model of a work queue: its jobs, who holds them, and which are done.
//
// The jobs have a topic of their own, which nobody deletes or shortens, and one share group takes them.

/// One record of the queue's topic.
final class Job {
    let value: String
    let partition: Int32
    /// Its publication was acknowledged.
    var isPublished = false
    /// Accepting or rejecting it was answered: it comes no more.
    var isOver = false
    /// How often that was asked for and not refused.
    var openEnds = 0
    var mayBeOver: Bool { openEnds > 0 }
    /// How often it was delivered at most, what nobody received included.
    var deliveriesMax = 0
    /// Who has it for now, and until when at least (the loop's time).
    var holder: Int?
    var heldUntilMs: Int64 = 0

    init(_ value: String, _ partition: Int32) {
        self.value = value
        self.partition = partition
    }
}

final class Crew {
    static let topic = "jobs"
    static let group = "crew"
    static let partitions: Int32 = 2
    /// As `ShareConfiguration` has them.
    static let lockMs: Int64 = 30_000
    static let deliveriesMax: Int16 = 5

    /// Whether the topic's creation was acknowledged, and that the group begins at its first record.
    var isThere = false
    var isReady = false
    private(set) var jobs: [Job] = []
    private var byValue: [String: Job] = [:]

    func add(_ partition: Int32) -> Job {
        let job = Job("job-\(jobs.count)", partition)
        jobs.append(job)
        byValue[job.value] = job
        return job
    }

    func job(_ value: String) -> Job? { byValue[value] }

    /// A worker's session ended, or the process.
    func letGo(_ worker: Int?) {
        for job in jobs where worker == nil || job.holder == worker { job.holder = nil }
    }

    /// An answer with jobs was lost: each may have been in it.
    func noteLostDelivery() {
        for job in jobs where !job.isOver { job.deliveriesMax += 1 }
    }
}
