// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: one life of a broker, from one seed, in one thread.
//
// Draws what happens, lets it happen, and remembers in the model what was promised. The seed also draws which kinds of events
// this life has and how often, so that lives differ (swarm testing). What happens is in the extensions: `Life+Clients`,
// `Life+Admin`, `Life+Disk`, `Life+Restart`; what must be true is in `Life+Oracle`.

import Bytes
import Engine
import NIOCore
import NIOEmbedded
import Records
import Storage

package final class Life {
    let seed: UInt64
    let disk: SimulatedFileSystem
    let clock = ManualClock()
    let ids: Ids
    let model: Model
    let decompressor = Decompressor()
    var random: SeededGenerator
    var trace = Trace()
    var report: LifeReport
    /// The running process; nil between a crash and the next start.
    var broker: SimulatedBroker?
    var violation: Violation?
    var settings: Settings

    // Clients of the running process.
    var producers: [ProducerActor] = []
    var fetchers: [FetchActor] = []
    var subscribers: [SubscribeActor] = []
    var members: [MemberActor] = []
    var transactionActors: [TransactionActor] = []
    let ledger = Ledger()
    var streamActors: [StreamActor] = []
    let journal = Journal()
    var workers: [WorkerActor] = []
    let crew = Crew()
    var admin: KafkaLink?
    var calls: GRPCLink?
    /// Calls that wait for an answer.
    var openCalls: [(call: GRPCLinkCall, answer: (GRPCLinkCall) -> Void)] = []
    var isInsideSync = false
    let complaints = Complaints()
    private var complaintsSeen = 0
    var producerIds: Set<Int64> = []

    /// What this life has.
    struct Settings {
        var weights: [(action: Action, weight: Int)] = []
        var steps = 0
        var hasFaults = false
        var flips = FlipTarget.none
        var maxRecords = 1
        var maxValue = 1
        var compresses = false
        var isSlowDisk = false
        /// How often the process is stopped or dies.
        var restarts = 0
        var crashesDuringStart = false
        /// Whether there are transactions.
        var transacts = false
        /// Whether there are streams of records to publish.
        var streams = false
        /// Whether there is a queue with workers.
        var works = false
    }

    enum FlipTarget: CaseIterable { case none, logs, caches, checkpoint }

    enum Action: CaseIterable {
        case produce, publish, fetch, subscribe, commit, commitByCall, member
        case create, delete, alter, grow, deleteRecords
        case turn, sync, release, pass, checkpoint, retention, rewrite
        case fault, calm, flip, verify, disconnect
        case transact
        case stream
        case work
    }

    package init(seed: UInt64) {
        self.seed = seed
        random = SeededGenerator(seed: seed)
        disk = SimulatedFileSystem(seed: random.next())
        ids = Ids(seed: random.next())
        model = Model(topics: ["orders", "events", "audit-log"])
        report = LifeReport(seed: seed, trace: 0)
        settings = Settings()
        settings = drawSettings()
    }

    private func drawSettings() -> Settings {
        var settings = Settings()
        settings.steps = pick(20...160)
        settings.hasFaults = chance(0.3)
        settings.flips = chance(0.25) ? .logs : chance(0.2) ? .caches : chance(0.1) ? .checkpoint : .none
        settings.maxRecords = pick([1, 3, 8])
        settings.maxValue = pick([40, 200, 900, 20_000])
        settings.compresses = chance(0.2)
        settings.isSlowDisk = chance(0.5)
        settings.restarts = pick(1...4)
        settings.crashesDuringStart = chance(0.3)
        // Drawn apart, so that the other lives are what they were.
        var apart = SeededGenerator(seed: seed ^ 0x7472_616e_7361_6374)
        settings.transacts = apart.next() % 3 == 0
        if settings.transacts { settings.steps += 120 }
        settings.streams = apart.next() % 4 == 0
        if settings.streams { settings.steps += 60 }
        settings.works = apart.next() % 4 == 0
        if settings.works { settings.steps += 100 }
        let usual: [Action: Int] = [
            .produce: 24, .publish: 6, .fetch: 8, .subscribe: 4, .commit: 5, .commitByCall: 3, .member: 4, .create: 3,
            .delete: 1, .alter: 2, .grow: 1, .deleteRecords: 2, .turn: 14, .sync: 14, .release: 2, .pass: 4,
            .checkpoint: 4, .retention: 2, .rewrite: 1, .fault: 4, .calm: 3, .flip: 2, .verify: 1, .disconnect: 2,
        ]
        for action in Action.allCases {
            var weight = usual[action] ?? 0
            switch action {
            case .produce, .turn, .sync, .create: break
            case .fault where !settings.hasFaults: weight = 0
            case .flip where settings.flips == .none: weight = 0
            case .flip, .fault, .calm: break
            case .transact: weight = settings.transacts ? 120 : 0
            case .stream: weight = settings.streams ? 60 : 0
            case .work: weight = settings.works ? 100 : 0
            default: weight = weight * pick([0, 1, 1, 1, 3])
            }
            if weight > 0 { settings.weights.append((action, weight)) }
        }
        return settings
    }

    // MARK: Drawing

    func makeId() -> TopicId { TopicId(random: { random.next() }) }
    func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &random) < probability }
    func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
    func pick<Element>(_ elements: [Element]) -> Element { elements[Int.random(in: 0..<elements.count, using: &random)] }
    func pickAny<Element>(_ elements: [Element]) -> Element? { elements.isEmpty ? nil : pick(elements) }

    // MARK: Living

    /// Lives it; the report has the violation, if there was one. `listener` is told of every step.
    package func run(listener: ((String) -> Void)? = nil) -> LifeReport {
        trace.listener = listener
        if listener != nil { disk.startRecording() }
        do {
            try live()
        } catch let error as Violation {
            violate(error.invariant, error.detail)
        } catch {
            violate("a client can read every answer", "\(error)")
        }
        noteComplaints()
        if let broker {
            disk.powerOff()
            dropClients()
            broker.discard()
        }
        report.trace = trace.hash ^ disk.digest
        report.violation = violation
        report.lastSteps = trace.lastLines
        return report
    }

    private func live() throws {
        try start(after: .nothing)
        for restart in 0..<settings.restarts where violation == nil {
            let steps = max(5, settings.steps / settings.restarts)
            // Some crashes come in the middle of an operation, the others between two steps.
            let ending = drawEnding()
            if ending.isCrash, chance(0.7) { disk.crash(atChange: disk.changeCount + pick(0...steps * 3)) }
            for _ in 0..<steps where violation == nil {
                try step()
                if disk.hasCrashed { break }
            }
            if violation != nil { return }
            let isLast = restart == settings.restarts - 1
            if isLast, chance(0.3), !disk.hasCrashed { try checkLiveness() }
            if violation != nil { return }
            try end(ending)
        }
        // Once more with nothing wrong, so that what only a second start shows is seen too.
        guard violation == nil else { return }
        try end(.clean(thenPowerCut: chance(0.5)))
        if violation == nil { try checkCrew() }
    }

    private func drawEnding() -> Ending {
        switch pick(0...9) {
        case 0, 1: .clean(thenPowerCut: chance(0.5))
        case 2, 3, 4: .killed
        default: .powerCut(chance(0.3) ? .loseUnsynced : .arbitrary)
        }
    }

    func step() throws {
        report.steps += 1
        let action = draw()
        // Inside a sync only what other threads may do meanwhile.
        if isInsideSync, [.sync, .release, .checkpoint, .retention, .rewrite, .verify, .flip].contains(action) { return }
        try perform(action)
        if !disk.hasCrashed, chance(0.3) { try turn() }
        noteComplaints()
    }

    private func draw() -> Action {
        let total = settings.weights.reduce(0) { $0 + $1.weight }
        var left = pick(0...total - 1)
        for (action, weight) in settings.weights {
            if left < weight { return action }
            left -= weight
        }
        return .turn
    }

    private func perform(_ action: Action) throws {
        switch action {
        case .produce: try pickAny(producers)?.step()
        case .publish: try publish()
        case .fetch: try pickAny(fetchers)?.step()
        case .subscribe: try pickAny(subscribers)?.step()
        case .commit: try commit()
        case .commitByCall: try commitByCall()
        case .member: try pickAny(members)?.step()
        case .create: try createTopic()
        case .delete: try deleteTopic()
        case .alter: try alterTopic()
        case .grow: try growTopic()
        case .deleteRecords: try deleteRecords()
        case .turn: try turn()
        case .sync: try syncRound()
        case .release: broker?.groupCommit.releaseDelayed()
        case .pass: try pass()
        case .checkpoint: checkpoint()
        case .retention: retention()
        case .rewrite: rewrite()
        case .fault: injectFault()
        case .calm: calm()
        case .flip: flip()
        case .verify: try verifyAlive()
        case .disconnect: try disconnect()
        case .transact: try transact()
        case .stream: try pickAny(streamActors)?.step()
        case .work: try work()
        }
    }

    /// A transaction takes many requests, each durable before the next: often the answer comes at once.
    private func transact() throws {
        try pickAny(transactionActors)?.step()
        guard !disk.hasCrashed, chance(0.6) else { return }
        if isInsideSync { try turn() } else { try syncRound() }
    }

    /// What workers say is durable before it is answered.
    private func work() throws {
        try pickAny(workers)?.step()
        guard !disk.hasCrashed, chance(0.5) else { return }
        if isInsideSync { try turn() } else { try syncRound() }
    }

    // MARK: The passing of time

    /// Ends the event loop's turn, and lets the clients read.
    func turn() throws {
        guard let broker else { return }
        broker.turn()
        try readAnswers()
    }

    func readAnswers() throws {
        // Nothing of what a dead process was about to say reaches anybody.
        if disk.hasCrashed { return }
        for producer in producers { try producer.link?.poll() }
        for fetcher in fetchers { try fetcher.link?.poll() }
        for member in members { try member.link?.poll() }
        for actor in transactionActors { try actor.link?.poll() }
        for actor in streamActors { try actor.read() }
        for worker in workers { try worker.link?.poll() }
        try admin?.poll()
        try calls?.poll()
        for subscriber in subscribers { try subscriber.read() }
        try answerCalls()
    }

    func answerCalls() throws {
        var index = 0
        while index < openCalls.count {
            guard openCalls[index].call.isClosed || openCalls[index].call.status != nil else {
                index += 1
                continue
            }
            let (call, answer) = openCalls.remove(at: index)
            answer(call)
        }
    }

    /// One round of the sync thread; on a slow disk the event loop goes on during each sync of a file.
    func syncRound() throws {
        guard let broker else { return }
        if settings.isSlowDisk, chance(0.4) {
            isInsideSync = true
            var isNested = false
            disk.duringSync { [unowned self] in
                // A step may sync, and under locks; the others go on in the outer sync only.
                guard !isNested, !disk.hasCrashed, violation == nil else { return }
                isNested = true
                defer { isNested = false }
                do {
                    for _ in 0..<pick(0...3) where !disk.hasCrashed { try step() }
                } catch let error as Violation {
                    violate(error.invariant, error.detail)
                } catch {
                    violate("a client can read every answer", "\(error)")
                }
            }
        }
        trace.note("sync round")
        broker.groupCommit.runRound()
        disk.duringSync(nil)
        isInsideSync = false
        if !disk.hasCrashed, chance(0.7) { try turn() }
    }

    private func pass() throws {
        let ms = Int64(pick([1, 50, 1_000, 6_000, 70_000]))
        trace.note("\(ms) ms pass")
        clock.advance(ms: chance(0.03) ? -ms : ms)
        broker?.loop.advanceTime(by: .milliseconds(ms))
        try readAnswers()
    }

    // MARK: Telling

    /// Notes a broken promise; the first one counts.
    func violate(_ invariant: String, _ detail: @autoclosure () -> String) {
        guard violation == nil else { return }
        violation = Violation(invariant: invariant, detail: detail())
        trace.note("VIOLATION \(invariant): \(violation?.detail ?? "")")
    }

    /// What the broker said goes into the trace.
    func noteComplaints() {
        if let listener = trace.listener {
            for each in disk.takeRecorded() {
                listener("    disk: \(each.operation) \(each.path) at \(each.offset), \(each.length) bytes")
            }
        }
        for line in complaints.news(after: &complaintsSeen) { trace.note("  the broker: \(line)") }
    }

    func received(_ bytes: ByteBuffer) { trace.mix(bytes) }
}
