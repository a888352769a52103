// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: waiting for records.

import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import Testing

import TestSupport

@testable import Engine

@Suite struct WaiterTests {
    private let fired = NIOLockedValueBox(0)

    private func waiter(_ test: TestEngine, bytes: Int = 1) -> Waiter {
        Waiter(loop: test.loop, bytesNeeded: bytes) { [fired] in fired.withLockedValue { $0 += 1 } }
    }

    private var count: Int { fired.withLockedValue { $0 } }

    @Test func aWriteWakesTheWaiterOnce() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        waiter(test).arm(on: [(partition, 0)], deadline: .seconds(10))
        test.turn()
        #expect(count == 0)
        for value in ["a", "b"] {
            _ = test.append(batch(value), to: partition)
            test.turn()
        }
        test.loop.advanceTime(by: .seconds(20))
        #expect(count == 1)
    }

    @Test func bytesOfSeveralPartitionsAddUp() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic(partitions: 2)
        let size = batch("a").readableBytes
        waiter(test, bytes: 2 * size).arm(on: topic.partitions.map { ($0, 0) }, deadline: .seconds(10))
        _ = test.append(batch("a"), to: topic.partitions[0])
        test.turn()
        #expect(count == 0)
        _ = test.append(batch("b"), to: topic.partitions[1])
        test.turn()
        #expect(count == 1)
    }

    @Test func theDeadlineEndsTheWait() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        waiter(test).arm(on: [(partition, 0)], deadline: .milliseconds(500))
        test.loop.advanceTime(by: .milliseconds(499))
        #expect(count == 0)
        test.loop.advanceTime(by: .milliseconds(1))
        #expect(count == 1)
    }

    /// Whoever waits again when it was woken would keep its loop from everything else.
    @Test func whereTooManyWaitOneMoreLooksAgainInAMoment() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let others = (0..<Limits.waitersPerPartition).map { _ in Waiter(loop: test.loop, bytesNeeded: 1) {} }
        for other in others { other.arm(on: [(partition, 0)], deadline: nil) }
        waiter(test).arm(on: [(partition, 0)], deadline: nil)
        test.turn()
        #expect(count == 0)
        test.loop.advanceTime(by: Limits.fullPartitionDelay)
        #expect(count == 1)
        #expect(partition.waiterCount == Limits.waitersPerPartition)
    }

    @Test func whatArrivedBetweenReadAndArmIsNotMissed() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let seen = partition.offsets.highWatermark
        _ = test.append(batch("a"), to: partition)
        test.turn()
        waiter(test).arm(on: [(partition, seen)], deadline: .seconds(10))
        test.turn()
        #expect(count == 1)
    }

    @Test func aCancelledWaiterStaysSilent() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let waiter = waiter(test)
        waiter.arm(on: [(partition, 0)], deadline: .seconds(1))
        waiter.cancel()
        _ = test.append(batch("a"), to: partition)
        test.turn()
        test.loop.advanceTime(by: .seconds(2))
        #expect(count == 0)
    }

    @Test func aDeletedTopicWakesTheWaiter() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        waiter(test).arm(on: [(partition, 0)], deadline: nil)
        _ = test.engine.topics.delete("orders", on: test.loop)
        test.sync()
        #expect(count == 1)
    }
}
