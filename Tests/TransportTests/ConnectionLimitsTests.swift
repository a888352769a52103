// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: how many connections there may be, from where, and how fast they may come.

import NIOCore
import Synchronization
import Testing

@testable import Transport

@Suite("Limits of connections")
struct ConnectionLimitsTests {
    private func limits(
        _ change: (inout ConnectionLimits.Rules) -> Void, delayMs: @escaping @Sendable (String) -> Int32 = { _ in 0 }
    ) -> ConnectionLimits {
        var rules = ConnectionLimits.Rules()
        change(&rules)
        return ConnectionLimits(rules, addressDelayMs: delayMs)
    }

    @Test("count each address, with exceptions, and forget those that left")
    func addresses() {
        let limits = limits {
            $0.perAddressMax = 2
            $0.perAddress = ["10.0.0.9": 0, "10.0.0.8": 3]
        }
        #expect(limits.enter("10.0.0.1") == .admitted)
        #expect(limits.enter("10.0.0.1") == .admitted)
        let refused = limits.enter("10.0.0.1")
        #expect(refused == .refused(.tooManyFromAddress("10.0.0.1", max: 2)))
        #expect(limits.enter("10.0.0.2") == .admitted)
        #expect(limits.enter("10.0.0.9") == .refused(.tooManyFromAddress("10.0.0.9", max: 0)))
        #expect((0..<3).allSatisfy { _ in limits.enter("10.0.0.8") == .admitted })
        limits.leave("10.0.0.1", refused)
        #expect(limits.enter("10.0.0.1") != .admitted)
        limits.leave("10.0.0.1", .admitted)
        #expect(limits.enter("10.0.0.1") == .admitted)
        #expect(limits.limited[.perAddress] == 3 && limits.limited[.connections] == nil)
    }

    @Test("hold for all addresses together, and tell only so many")
    func total() {
        let limits = limits {
            $0.connectionsMax = 1
            $0.refusedAtOnceMax = 1
        }
        #expect(limits.enter("a") == .admitted)
        let told = limits.enter("b")
        #expect(told == .refused(.tooManyConnections(max: 1)))
        #expect(limits.enter("c") == .dropped(.tooManyConnections(max: 1)))
        limits.leave("b", told)
        limits.leave("a", .admitted)
        #expect(limits.enter("c") == .admitted)
        #expect(limits.limited[.connections] == 2)
    }

    @Test("keep those waiting that come faster than their address may")
    func rate() {
        let limits = limits({ $0.refusedAtOnceMax = 1 }, delayMs: { $0 == "fast" ? 700 : 0 })
        let waiting = limits.enter("fast")
        #expect(waiting == .delayed(ms: 700))
        guard case .dropped = limits.enter("fast") else { return #expect(Bool(false), "only so many wait") }
        #expect(limits.enter("slow") == .admitted)
        limits.leave("fast", waiting)
        #expect(limits.enter("fast") == .delayed(ms: 700))
        #expect(limits.limited[.addressRate] == 3)
    }

    @Test("let a second's worth come at once and then make the listener wait")
    func budget() {
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
        var budget = AcceptBudget(rate: 4, now: start)
        #expect((0..<4).allSatisfy { _ in budget.take(now: start) == .zero })
        #expect(budget.take(now: start) == .milliseconds(250))
        #expect(budget.take(now: start) == .milliseconds(500))
        #expect(budget.take(now: start + .milliseconds(500)) == .milliseconds(250))
        #expect(budget.take(now: start + .seconds(60)) == .zero)
    }
}
