// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: how a process ends, and what must be true when the next one has started.

import Engine
import NIOCore
import NIOEmbedded
import Storage

extension Life {
    /// How a run of the process ends.
    enum Ending {
        case clean(thenPowerCut: Bool)
        case killed
        case powerCut(CrashMode)

        var isCrash: Bool { if case .clean = self { false } else { true } }
    }

    /// What may be missing after it.
    enum Loss: Int, Comparable {
        case nothing, process, power

        static func < (left: Loss, right: Loss) -> Bool { left.rawValue < right.rawValue }
    }

    /// Ends the process, and starts and checks the next one.
    func end(_ ending: Ending) throws {
        switch ending {
        case .clean(let thenPowerCut) where !disk.hasCrashed: try stopCleanly(thenPowerCut: thenPowerCut)
        case .clean: try crash(.processKilled)
        case .killed: try crash(.processKilled)
        case .powerCut(let mode): try crash(mode)
        }
    }

    private func crash(_ mode: CrashMode) throws {
        trace.note("crash: \(mode)")
        report.crashes += 1
        disk.powerOff()
        dropProcess()
        disk.crash(mode)
        if mode != .processKilled { losePower() }
        try start(after: mode == .processKilled ? .process : .power)
    }

    /// What was known only from the page cache may be gone.
    private func losePower() {
        for partition in model.partitions { partition.knownEnd = partition.durableEnd }
    }

    private func stopCleanly(thenPowerCut: Bool) throws {
        guard let broker else { return }
        trace.note("clean stop, then \(thenPowerCut ? "a power cut" : "nothing")")
        calm()
        for _ in 0..<3 {
            try turn()
            broker.groupCommit.runRound()
        }
        try turn()
        let starts = model.livePartitions.map { ($0, broker.partition($0)) }
        let isSound = broker.engine.allPartitions.allSatisfy { $0.failure == nil }
        for (model, partition) in starts { if let partition { model.start = partition.offsets.start } }
        dropClients()
        broker.engine.prepareToShutDown()
        broker.loop.run()
        var isClean = false
        do {
            try broker.engine.shutDown()
            isClean = true
        } catch {
            trace.note("the stop failed: \(error)")
            if isSound, !disk.hasCrashed { violate("a broker without faults stops cleanly", "\(error)") }
        }
        broker.loop.run()
        self.broker = nil
        if isClean, isSound {
            for partition in model.livePartitions {
                partition.durableEnd = max(partition.durableEnd, partition.knownEnd)
                partition.startSaved = max(partition.startSaved, partition.start)
                partition.coldEnd = max(partition.coldEnd, partition.durableEnd)
            }
        }
        disk.crash(thenPowerCut ? .arbitrary : .processKilled)
        if thenPowerCut { losePower() }
        try start(after: isClean && isSound ? .nothing : thenPowerCut ? .power : .process, expectsClean: isClean && isSound)
    }

    private func dropProcess() {
        dropClients()
        broker?.discard()
        broker = nil
    }

    func dropClients() {
        for producer in producers { producer.link?.discard(); producer.link = nil }
        for fetcher in fetchers { fetcher.link?.discard(); fetcher.link = nil }
        for member in members { member.link?.discard(); member.link = nil }
        for actor in transactionActors { actor.link?.discard(); actor.link = nil }
        for actor in streamActors { actor.drop() }
        for worker in workers { worker.drop() }
        for subscriber in subscribers { subscriber.drop() }
        admin?.discard()
        admin = nil
        calls?.discard()
        calls = nil
        openCalls = []
    }

    // MARK: Start

    /// Starts the process, perhaps with a few crashes on the way, and checks what it serves.
    func start(after loss: Loss, expectsClean: Bool = false) throws {
        var loss = loss
        var expectsClean = expectsClean
        var attempts = 0
        while broker == nil, violation == nil {
            attempts += 1
            let mayCrash = settings.crashesDuringStart && attempts <= 3 && chance(0.5)
            if mayCrash { disk.crash(atChange: disk.changeCount + pick(0...12)) }
            if attempts > 3 || !settings.hasFaults { calm() }
            report.starts += 1
            trace.note("start \(report.starts)")
            do {
                let started = try SimulatedBroker(files: disk, clock: clock, ids: ids, complaints: complaints)
                started.loop.run()
                if expectsClean, !started.wasCleanlyClosed {
                    violate("a clean stop is recognised", "the next start recovers")
                }
                broker = started
            } catch {
                trace.note("the start failed: \(error)")
                guard disk.hasCrashed || attempts <= 3 && settings.hasFaults else {
                    return violate("a broker starts on whatever a crash leaves", "\(error)")
                }
            }
            noteComplaints()
            if disk.hasCrashed {
                // The start itself was cut short.
                dropProcess()
                expectsClean = false
                let mode = chance(0.5) ? CrashMode.processKilled : .arbitrary
                trace.note("crash during the start: \(mode)")
                disk.crash(mode)
                if mode != .processKilled {
                    losePower()
                    loss = max(loss, .power)
                }
            } else if broker == nil {
                disk.crash(.processKilled)
                expectsClean = false
            }
        }
        guard violation == nil else { return }
        disk.crash(atChange: nil)
        let hadFaults = settings.hasFaults
        calm()
        try connectClients()
        try checkAfterStart(loss)
        if violation == nil, chance(0.5) || hadFaults { try checkLiveness() }
    }

    func connectClients() throws {
        guard let broker else { return }
        let onBytes: (ByteBuffer) -> Void = { [unowned self] in received($0) }
        admin = try KafkaLink(broker, onBytes: onBytes)
        calls = try GRPCLink(broker, clock: clock, onBytes: onBytes)
        if producers.isEmpty {
            for number in 0..<pick(1...3) { producers.append(ProducerActor(self, number)) }
            for number in 0..<pick(0...2) { fetchers.append(FetchActor(self, number)) }
            for number in 0..<pick(0...2) { subscribers.append(SubscribeActor(self, number)) }
            for number in 0..<pick(0...2) { members.append(MemberActor(self, number)) }
            let transactional = settings.transacts ? pick(1...3) : 0
            for number in 0..<transactional { transactionActors.append(TransactionActor(self, number)) }
            let streaming = settings.streams ? pick(2...3) : 0
            for number in 0..<streaming { streamActors.append(StreamActor(self, number)) }
            let working = settings.works ? pick(2...3) : 0
            for number in 0..<working { workers.append(WorkerActor(self, number)) }
        }
        for producer in producers { try producer.connect(broker) }
        for fetcher in fetchers { try fetcher.connect(broker) }
        for member in members { try member.connect(broker) }
        for actor in transactionActors { try actor.connect(broker) }
        for actor in streamActors { try actor.connect(broker) }
        for worker in workers { try worker.connect(broker) }
        for subscriber in subscribers { try subscriber.connect(broker) }
    }
}
