// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: sync rounds.

import Bytes
import Synchronization
import Testing

@testable import Storage

/// Has something to sync when it is told so, and remembers how it went.
private final class Participant: SyncParticipant {
    struct State {
        var work: [SyncWork] = []
        var begun = 0
        var ended: [StorageError?] = []
        var onBegin: (@Sendable () -> Void)?
        var onEnd: (@Sendable () -> Void)?
    }

    let state = Mutex(State())

    init(_ work: SyncWork...) { state.withLock { $0.work = work } }

    func beginSync() -> SyncWork? {
        let onBegin = state.withLock { state in
            state.begun += 1
            return state.onBegin
        }
        onBegin?()
        return state.withLock { $0.work.isEmpty ? nil : $0.work.removeFirst() }
    }

    func endSync(_ work: SyncWork, failure: StorageError?) {
        let onEnd = state.withLock { state in
            state.ended.append(failure)
            return state.onEnd
        }
        onEnd?()
    }

    var begun: Int { state.withLock { $0.begun } }
    var ended: [StorageError?] { state.withLock { $0.ended } }
}

@Suite("Group commit")
struct GroupCommitTests {
    private let files = SimulatedFileSystem(seed: 1)
    private let commit: GroupCommit
    private let file: any File
    private let other: any File

    init() throws {
        commit = GroupCommit(fileSystem: files, clock: ManualClock())
        file = try files.open("a", create: true)
        other = try files.open("b", create: true)
        files.startRecording()
    }

    private func work(_ files: [any File], _ directories: [String] = []) -> SyncWork {
        SyncWork(files: files, directories: directories, endOffset: 1)
    }

    @Test func aRoundSyncsEachFileAndDirectoryOnceForAllWhoWait() throws {
        let participants = [
            Participant(work([file, other], ["", ""])), Participant(work([file], [""])), Participant(work([other])),
        ]
        for participant in participants { commit.enqueue(participant) }
        #expect(commit.runRound())
        #expect(files.recorded.map(\.operation) == [.sync, .sync, .syncDirectory])
        for participant in participants { #expect(participant.ended == [nil]) }
        #expect(!commit.runRound())
    }

    @Test func muchThatNobodyWaitsForIsSyncedAtOnceAndTheObserverIsTold() {
        let told = Mutex(0)
        commit.whenSynced(every: StorageLimits.unsyncedBytes) { told.withLock { $0 += 1 } }
        let participant = Participant(work([file]), work([file]))
        commit.enqueueDelayed(participant, bytes: StorageLimits.unsyncedBytes - 1)
        #expect(!commit.runRound())
        // A round for somebody else does not count what still waits.
        commit.enqueue(Participant(work([other])))
        #expect(commit.runRound() && told.withLock { $0 } == 0)
        commit.enqueueDelayed(participant, bytes: 1)
        #expect(commit.runRound())
        #expect(participant.ended == [nil] && told.withLock { $0 } == 1)
        commit.enqueueDelayed(participant, bytes: 1)
        commit.releaseDelayed()
        #expect(commit.runRound() && told.withLock { $0 } == 1)
    }

    /// Many are synced by many threads, each once; on a real disk only.
    @Test func aLargeRoundOnARealDiskSyncsEverybody() throws {
        let place = try TemporaryDirectory()
        let files = try RealFileSystem(root: place.path)
        let commit = GroupCommit(fileSystem: files, clock: ManualClock())
        let participants = try (0..<100).map { number -> Participant in
            try files.makeDirectory("d\(number)")
            let missing = number == 50 ? "nowhere" : "d\(number)"
            return Participant(work([try files.open("d\(number)/f", create: true)], [missing]))
        }
        for participant in participants { commit.enqueue(participant) }
        #expect(commit.runRound())
        for (number, participant) in participants.enumerated() {
            #expect(participant.ended.count == 1)
            #expect((participant.ended[0] == nil) == (number != 50))
        }
    }

    @Test func whoIsQueuedTwiceIsSyncedOnce() {
        let participant = Participant(work([file]), work([file]))
        commit.enqueue(participant)
        commit.enqueue(participant)
        commit.runRound()
        #expect(participant.begun == 1 && participant.ended.count == 1)
    }

    @Test func whoComesDuringARoundIsInTheNextOne() {
        let late = Participant(work([other]))
        let first = Participant(work([file]), work([file]))
        first.state.withLock { $0.onBegin = { [commit] in commit.enqueue(late); commit.enqueue(first) } }
        commit.enqueue(first)
        commit.runRound()
        #expect(first.begun == 1 && late.begun == 0)
        first.state.withLock { $0.onBegin = nil }
        commit.runRound()
        #expect(first.ended.count == 2 && late.ended.count == 1)
    }

    @Test func aFailureReachesThoseWhoseFileItWasAndNobodyElse() {
        files.inject(SimulatedFault(.sync, path: "a", times: 1))
        let hit = Participant(work([file]))
        let alsoHit = Participant(work([other, file]))
        let spared = Participant(work([other]))
        for participant in [hit, alsoHit, spared] { commit.enqueue(participant) }
        commit.runRound()
        #expect(hit.ended.first??.code == .inputOutput)
        #expect(alsoHit.ended.first??.code == .inputOutput)
        #expect(spared.ended == [nil])
        // Not tried again, by nobody.
        #expect(files.recorded.filter { $0.operation == .sync }.count == 2)
    }

    @Test func aDirectoryThatCannotBeSyncedFailsItsParticipants() {
        files.inject(SimulatedFault(.syncDirectory, times: 1))
        let hit = Participant(work([file], [""]))
        let spared = Participant(work([other]))
        commit.enqueue(hit)
        commit.enqueue(spared)
        commit.runRound()
        #expect(hit.ended.first??.code == .inputOutput)
        #expect(spared.ended == [nil])
    }

    @Test func whoHasNothingToSyncIsNotAnswered() {
        let idle = Participant()
        commit.enqueue(idle)
        #expect(commit.runRound())
        #expect(idle.begun == 1 && idle.ended.isEmpty)
        #expect(files.recorded.isEmpty)
    }

    @Test func delayedParticipantsWaitUntilTheyAreReleased() {
        let participant = Participant(work([file]))
        commit.enqueueDelayed(participant)
        commit.enqueueDelayed(participant)
        #expect(!commit.runRound())
        commit.releaseDelayed()
        commit.runRound()
        #expect(participant.begun == 1 && participant.ended == [nil])
    }

    @Test func roundsAreReported() {
        let reported = Reports()
        let commit = GroupCommit(fileSystem: files, clock: ManualClock()) { reported.add($0) }
        files.inject(SimulatedFault(.sync, path: "a", times: 1))
        commit.enqueue(Participant(work([file])))
        commit.enqueue(Participant(work([other])))
        commit.enqueue(Participant())
        commit.runRound()
        #expect(reported.all.map(\.participants) == [2])
        #expect(reported.all.map(\.files) == [2])
        #expect(reported.all.map(\.failures) == [1])
    }

    @Test func theThreadServesWhoeverComesAndStopDrainsTheQueue() async {
        let commit = GroupCommit(fileSystem: files, clock: SystemClock(), delayMs: 60_000)
        commit.start()
        for _ in 0..<100 {
            let participant = Participant(work([file]))
            await withCheckedContinuation { done in
                participant.state.withLock { $0.onEnd = { done.resume() } }
                commit.enqueue(participant)
            }
            #expect(participant.ended == [nil])
        }
        let last = Participant(work([file]))
        commit.enqueueDelayed(last)
        commit.stop()
        #expect(last.ended == [nil])
    }

    @Test func theThreadReleasesTheDelayedOnesByItself() async {
        let commit = GroupCommit(fileSystem: files, clock: SystemClock(), delayMs: 1)
        commit.start()
        let participant = Participant(work([file]))
        await withCheckedContinuation { done in
            participant.state.withLock { $0.onEnd = { done.resume() } }
            commit.enqueueDelayed(participant)
        }
        #expect(participant.ended == [nil])
        commit.stop()
    }
}

/// Collects reported rounds.
private final class Reports: Sendable {
    private let rounds = Mutex<[SyncRound]>([])

    var all: [SyncRound] { rounds.withLock { $0 } }

    func add(_ round: SyncRound) { rounds.withLock { $0.append(round) } }
}
