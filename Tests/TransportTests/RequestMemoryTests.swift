// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: the memory that unfinished requests of all connections share.

import NIOCore
import NIOEmbedded
import Testing

@testable import Transport

@Suite("Memory for requests")
struct RequestMemoryTests {
    private let loop = EmbeddedEventLoop()
    private let memory = RequestMemory(limit: 100, askEvery: .seconds(10))

    /// What became of one reservation. On the test's thread only.
    private final class Asker: @unchecked Sendable {
        var reservation: RequestMemory.Reservation?
        var isHeld = false
        var presses = 0
    }

    private func ask(_ bytes: Int) -> Asker {
        let asker = Asker()
        let (reservation, isHeld) = memory.reserve(bytes, on: loop) { asker.isHeld = true } onPressed: { asker.presses += 1 }
        asker.reservation = reservation
        asker.isHeld = isHeld
        return asker
    }

    @Test func whatFitsIsHeldAtOnce() {
        let first = ask(60)
        let second = ask(39)
        #expect(first.isHeld && second.isHeld && memory.used == 99)
        first.reservation?.release()
        second.reservation?.release()
        #expect(memory.used == 0)
    }

    /// A request larger than all there is must get through too.
    @Test func theLastOneThatIsLetInMayGoOverTheLimitAndTheNextOnesWaitInOrder() {
        let large = ask(1_000)
        #expect(large.isHeld && memory.used == 1_000)
        let waiting = [ask(50), ask(60), ask(1)]
        #expect(waiting.allSatisfy { !$0.isHeld } && memory.waitingCount == 3)
        large.reservation?.release()
        loop.run()
        #expect(waiting.map(\.isHeld) == [true, true, false])
        waiting[0].reservation?.release()
        loop.run()
        #expect(waiting[2].isHeld && memory.used == 61 && memory.waitingCount == 0)
    }

    @Test func whoGivesUpWaitingIsForgotten() {
        let holder = ask(100)
        let waiting = ask(10)
        let next = ask(20)
        waiting.reservation?.release()
        #expect(memory.waitingCount == 1)
        holder.reservation?.release()
        loop.run()
        #expect(!waiting.isHeld && next.isHeld && memory.used == 20)
        waiting.reservation?.release()
        #expect(memory.used == 20)
    }

    /// The peer has closed between the grant and its delivery.
    @Test func whatIsReleasedBeforeItWasToldIsFreeAgain() {
        let holder = ask(100)
        let waiting = ask(10)
        holder.reservation?.release()
        waiting.reservation?.release()
        loop.run()
        #expect(memory.used == 0)
    }

    @Test func holdersAreAskedForProgressOnlyWhileSomebodyWaits() {
        let holder = ask(100)
        loop.advanceTime(by: .seconds(60))
        #expect(holder.presses == 0)
        let waiting = ask(10)
        loop.advanceTime(by: .seconds(21))
        #expect(holder.presses == 2 && waiting.presses == 0)
        waiting.reservation?.release()
        loop.advanceTime(by: .seconds(60))
        #expect(holder.presses == 2)
        // And again when somebody waits again.
        let another = ask(10)
        loop.advanceTime(by: .seconds(11))
        #expect(holder.presses == 3)
        holder.reservation?.release()
        loop.run()
        #expect(another.isHeld)
    }

    @Test func adjustingCountsAndLetsOthersInWhenItShrinks() {
        memory.adjust(by: 100)
        #expect(!memory.hasRoom())
        let waiting = ask(10)
        memory.adjust(by: -1)
        loop.run()
        #expect(waiting.isHeld && memory.used == 109)
    }

    /// However they come and go, everybody is served and nothing is left over.
    @Test(arguments: 0..<20) func nobodyWaitsForEver(seed: UInt64) {
        var generator = SplitMix(state: seed)
        var open: [Asker] = []
        for _ in 0..<2_000 {
            if open.isEmpty || Int.random(in: 0..<2, using: &generator) == 0 {
                open.append(ask(Int.random(in: 1...300, using: &generator)))
            } else {
                // Whoever holds finishes; now and then one gives up.
                let gone = open.indices.filter { open[$0].isHeld || Int.random(in: 0..<10, using: &generator) == 0 }
                guard let at = gone.randomElement(using: &generator) else {
                    Issue.record("nobody holds memory while \(open.count) wait")
                    return
                }
                open.remove(at: at).reservation?.release()
            }
            loop.run()
            let held = open.filter(\.isHeld)
            #expect(open.isEmpty || !held.isEmpty)
            #expect(memory.used <= 100 + 300)
        }
        for asker in open { asker.reservation?.release() }
        loop.run()
        #expect(memory.used == 0 && memory.waitingCount == 0)
    }
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
