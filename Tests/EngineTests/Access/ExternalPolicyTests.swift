// SPDX-License-Identifier: Apache-2.0
// Martlet, tests: an external policy's decisions: asked once, remembered for a time, and never made up.

import Bytes
import NIOCore
import TestSupport
import Testing

@testable import Engine

@Suite struct ExternalPolicyTests {
    private let policy = TestPolicy()
    private let client = AccessClient(principal: "User:a", host: "h", listener: "l", wire: "kafka", isTLS: false)

    private func engine(_ configure: (inout AccessConfiguration) -> Void = { _ in }) throws -> TestEngine {
        try TestEngine(policy: policy) { configuration in configure(&configuration.access) }
    }

    private func inquiry(_ own: TestEngine, _ principal: String = "User:a") throws -> AccessInquiry {
        var client = client
        client.principal = principal
        return try #require(own.engine.access.inquiry(of: client, on: own.loop))
    }

    /// Asks for one thing; what it came to is there when it is decided.
    private func ask(_ own: TestEngine, _ name: String = "t", _ principal: String = "User:a") throws -> Outcome {
        let outcome = Outcome()
        let inquiry = try inquiry(own, principal)
        inquiry.settle({ inquiry.decide(.write, .topic, name) }, then: { outcome.decision = $0 })
        return outcome
    }

    private final class Outcome {
        var decision: AccessRules.Decision?
        var isAllowed: Bool? { decision?.isAllowed }
    }

    @Test func whatWasDecidedIsNotAskedAgainUntilItExpires() throws {
        let own = try engine()
        for (answer, isAllowed, ms) in [(PolicyAnswer.allowed, true, Int64(60_000)), (.denied, false, 10_000)] {
            let first = try ask(own, "\(isAllowed)")
            #expect(first.decision == nil)
            policy.answer(answer)
            own.turn()
            #expect(first.isAllowed == isAllowed)
            let count = policy.asked.count
            own.clock.advance(ms: ms - 1)
            #expect(try ask(own, "\(isAllowed)").isAllowed == isAllowed)
            #expect(policy.asked.count == count)
            own.clock.advance(ms: 1)
            let last = try ask(own, "\(isAllowed)")
            #expect(last.decision == nil && policy.open.count == 1)
            policy.answer(.denied)
            own.turn()
            #expect(last.isAllowed == false)
        }
    }

    @Test func whatFailedIsDeniedAndNotRemembered() throws {
        let own = try engine()
        let first = try ask(own)
        policy.answer(.failed("it is down"))
        own.turn()
        #expect(first.isAllowed == false)
        #expect(first.decision?.reason.description == "the external policy gave no decision: it is down")
        #expect(own.engine.access.policy?.failure?.cause == "it is down")
        let second = try ask(own)
        #expect(second.decision == nil)
        policy.answer(.allowed)
        own.turn()
        #expect(second.isAllowed == true)
        #expect(own.engine.access.policy?.failure == nil)
    }

    @Test func oneQuestionIsUnderWayForAllWhoAskTheSame() throws {
        let own = try engine()
        let outcomes = try (0..<5).map { _ in try ask(own) }
        #expect(policy.open.count == 1 && own.engine.access.policy?.waiting == 5)
        policy.answer(.allowed)
        own.turn()
        #expect(outcomes.allSatisfy { $0.isAllowed == true } && own.engine.access.policy?.waiting == 0)
    }

    @Test func anythingThatDiffersIsAnotherQuestion() throws {
        let own = try engine()
        var others = [client, client, client, client, client]
        others[1].host = "g"
        others[2].listener = "m"
        others[3].wire = "grpc"
        others[4].isTLS = true
        for other in others {
            let inquiry = try #require(own.engine.access.inquiry(of: other, on: own.loop))
            inquiry.settle({ inquiry.decide(.read, .topic, "t") }, then: { _ in })
        }
        #expect(Set(policy.asked).count == 5)
    }

    /// A request runs its pass again for what follows from an answer, and keeps an answer that has expired meanwhile.
    @Test func aRequestKeepsWhatItWasTold() throws {
        let own = try engine { $0.policy.allowedMs = 0 }
        let inquiry = try inquiry(own)
        var passes = 0
        var notes: [Int] = []
        var outcome: Bool?
        inquiry.settle({
            passes += 1
            let pass = passes
            inquiry.noting { notes.append(pass) }
            return inquiry.decide(.read, .group, "g").isAllowed && inquiry.decide(.read, .topic, "t").isAllowed
        }, then: { outcome = $0 })
        for name in ["g", "t"] {
            #expect(policy.open.map(\.question.name) == [name] && outcome == nil)
            policy.answer(.allowed)
            own.turn()
        }
        #expect(outcome == true && passes == 3 && notes == [3])
    }

    @Test func afterOneFailureARequestAsksNothingMore() throws {
        let own = try engine()
        let inquiry = try inquiry(own)
        var denied = 0
        inquiry.settle({ (0..<100).filter { !inquiry.decide(.read, .topic, "\($0)").isAllowed }.count }, then: { denied = $0 })
        #expect(policy.open.count == Limits.policyQuestionsAtOnce)
        policy.answer(.failed("too slow"))
        own.turn()
        #expect(denied == 100 && policy.asked.count == Limits.policyQuestionsAtOnce)
    }

    @Test func aRequestAsksAFewQuestionsAtATimeAndSoManyInAll() throws {
        let own = try engine()
        policy.immediate = { _ in .allowed }
        let inquiry = try inquiry(own)
        var allowed = 0
        let wanted = Limits.policyQuestionsPerRequest + 5
        inquiry.settle({ (0..<wanted).filter { inquiry.decide(.read, .topic, "\($0)").isAllowed }.count }, then: { allowed = $0 })
        own.turn()
        #expect(allowed == Limits.policyQuestionsPerRequest)
    }

    @Test func whoComesWhenTooManyWaitIsDenied() throws {
        let own = try engine()
        let outcomes = try (0..<Limits.policyQuestionsWaiting).map { try ask(own, "\($0)") }
        let last = try ask(own, "one more")
        #expect(last.isAllowed == false && outcomes.allSatisfy { $0.decision == nil })
        policy.answer(.allowed)
        own.turn()
        #expect(outcomes.allSatisfy { $0.isAllowed == true })
    }

    /// Names of clients' choice must not fill the memory.
    @Test func onlySoManyDecisionsAreRemembered() throws {
        let own = try engine { $0.policy.entriesMax = 100 }
        policy.immediate = { _ in .allowed }
        for index in 0..<1_000 {
            _ = try ask(own, "\(index)")
            own.turn()
        }
        #expect(try #require(own.engine.access.policy).rememberedDecisions <= 100)
        #expect(policy.asked.count == 1_000)
        // What is used stays.
        for index in 1_000..<2_000 {
            _ = try ask(own, "used")
            _ = try ask(own, "\(index)")
            own.turn()
        }
        #expect(policy.asked.count == 2_001)
    }

    @Test func nobodyGoesOnForSomebodyWhoIsGone() throws {
        let own = try engine()
        var (isWanted, isDone) = (true, false)
        let inquiry = try #require(own.engine.access.inquiry(of: client, on: own.loop) { isWanted })
        inquiry.settle({ inquiry.decide(.read, .topic, "t") }, then: { _ in isDone = true })
        isWanted = false
        policy.answer(.allowed)
        own.turn()
        #expect(!isDone)
    }

    // MARK: Beside the rules

    @Test func superUsersAreNotAskedAbout() throws {
        let own = try engine { $0.superUsers = ["User:root"] }
        var root = client
        root.principal = "User:root"
        #expect(own.engine.access.inquiry(of: root, on: own.loop) == nil)
        #expect(own.engine.access.decide(root, .alter, .cluster, AccessRule.clusterName).isAllowed)
        #expect(!own.engine.access.restricts("User:root") && own.engine.access.restricts("User:a"))
    }

    @Test func aRuleThatDeniesWinsAndOneThatAllowsMeansNothing() throws {
        let own = try engine { $0.allowsEveryoneWithoutRule = true }
        policy.immediate = { $0.name == "no" ? .denied : .allowed }
        let rules = [
            AccessRule(.deny, "User:a", .write, .topic, "t"), AccessRule(.allow, "User:a", .write, .topic, "no"),
        ]
        own.engine.access.add(rules, on: own.loop) { _ in }
        own.sync()
        for (name, isAllowed) in [("t", false), ("no", false), ("u", true)] {
            let outcome = try ask(own, name)
            own.turn()
            #expect(outcome.isAllowed == isAllowed, "\(name)")
        }
        #expect(!policy.asked.contains { $0.name == "t" })
    }

    /// Whoever does not ask, or cannot wait, is not let through.
    @Test func withoutAQuestionTheAnswerIsNo() throws {
        let own = try engine()
        let access = own.engine.access
        #expect(!access.decide("User:a", host: "h", .write, .topic, "t").isAllowed)
        #expect(!access.decideAny("User:a", host: "h", .write, .topic).isAllowed)
        #expect(!access.decide(client, .write, .topic, "t").isAllowed)
        policy.immediate = { _ in .allowed }
        _ = try ask(own)
        own.turn()
        #expect(access.decide(client, .write, .topic, "t").isAllowed)
        own.clock.advance(ms: 60_000)
        #expect(!access.decide(client, .write, .topic, "t").isAllowed)
        #expect(access.decide(client, .write, .topic, "t", graceMs: 1).isAllowed)
        #expect(!access.decide("User:a", host: "h", .write, .topic, "t").isAllowed)
    }
}
