// SPDX-License-Identifier: Apache-2.0
// Martlet, tests: access rules and passwords are durable before they are in force, and there again after a restart.

import NIOCore
import NIOEmbedded
import Security
import Storage
import TestSupport
import Testing

@testable import Engine

@Suite struct AccessControlTests {
    private let rule = AccessRule(.allow, "User:a", .read, .topic, "t")
    private let key = CredentialKey(user: "a", mechanism: .sha256)
    private let password = ScramCredential(mechanism: .sha256, password: "p", salt: [1], iterations: 4_096)

    private func mayRead(_ engine: Engine, _ user: String, _ topic: String = "t") -> Bool {
        engine.access.decide(user, host: "h", .read, .topic, topic).isAllowed
    }

    @Test func withoutRulesEverybodyMayDoEverything() throws {
        let own = try TestEngine()
        #expect(mayRead(own.engine, "User:b"))
        #expect(own.engine.access.decideAny("User:b", host: "h", .write, .topic).isAllowed)
    }

    @Test func aRuleIsInForceOnceItIsDurable() throws {
        let own = try TestEngine(durability: .disk)
        let answer = Answer<Void>()
        own.engine.access.add([rule], on: own.loop) { answer.result = $0 }
        own.turn()
        #expect(answer.result == nil)
        #expect(mayRead(own.engine, "User:b"))
        own.sync()
        #expect(answer.error == nil && answer.result != nil)
        #expect(mayRead(own.engine, "User:a"))
        #expect(!mayRead(own.engine, "User:b"))
    }

    @Test func whatWasDecidedIsForgottenWhenRulesChange() throws {
        let own = try TestEngine()
        own.engine.access.add([AccessRule(.allow, "User:b", .read, .topic, "u")], on: own.loop) { _ in }
        own.sync()
        for _ in 0..<2 {
            #expect(!mayRead(own.engine, "User:a"))
            #expect(!own.engine.access.decideAny("User:a", host: "h", .read, .topic).isAllowed)
            own.engine.access.add([rule], on: own.loop) { _ in }
            own.sync()
            #expect(mayRead(own.engine, "User:a") && !mayRead(own.engine, "User:a", "u"))
            #expect(own.engine.access.decideAny("User:a", host: "h", .read, .topic).isAllowed)
            own.engine.access.remove([rule], on: own.loop) { _ in }
            own.sync()
        }
    }

    @Test func whoObservesHearsOfOtherRulesAndOfNothingElse() throws {
        let own = try TestEngine()
        let told = Counter()
        let id = own.engine.access.changes.observe(on: own.loop) { told.value += 1 }
        own.engine.access.add([rule], on: own.loop) { _ in }
        own.sync()
        #expect(told.value == 1 && own.engine.access.changes.count == 1)
        own.engine.access.add([rule], on: own.loop) { _ in }
        own.engine.access.set([key: password], on: own.loop) { _ in }
        own.sync()
        #expect(told.value == 1)
        own.engine.access.remove([rule], on: own.loop) { _ in }
        own.sync()
        #expect(told.value == 2)
        own.engine.access.changes.remove(id)
    }

    @Test func superUsersCanBeOthersWhileTheBrokerRuns() throws {
        let own = try TestEngine { $0.access.superUsers = ["User:root"] }
        own.engine.access.add([rule], on: own.loop) { _ in }
        own.sync()
        #expect(mayRead(own.engine, "User:root", "u") && !mayRead(own.engine, "User:b", "u"))
        let before = own.engine.access.changes.count
        own.engine.access.use(superUsers: ["User:b"])
        own.engine.access.use(superUsers: ["User:b"])
        #expect(!mayRead(own.engine, "User:root", "u") && mayRead(own.engine, "User:b", "u"))
        #expect(own.engine.access.restricts("User:root") && !own.engine.access.restricts("User:b"))
        #expect(own.engine.access.changes.count == before + 1)
    }

    @Test func whatARemovedUserHasBegunIsEndedAndNothingElse() throws {
        let own = try TestEngine()
        let other = CredentialKey(user: "a", mechanism: .sha512)
        own.engine.access.set([key: password, other: password], on: own.loop) { _ in }
        own.sync()
        let ended = Counter()
        let sessions = own.engine.access.sessions
        let ticket = sessions.enter("a", on: own.loop) { ended.value += 1 }
        let left = sessions.enter("a", on: own.loop) { ended.value += 10 }
        _ = sessions.enter("b", on: own.loop) { ended.value += 100 }
        sessions.leave(left)
        // Another password is no end, and neither is one of two mechanisms less.
        own.engine.access.set([key: ScramCredential(mechanism: .sha256, password: "q", salt: [2], iterations: 4_096)], on: own.loop) { _ in }
        own.engine.access.set([other: nil], on: own.loop) { _ in }
        own.sync()
        #expect(ended.value == 0 && own.engine.access.hasUser("a"))
        own.engine.access.set([key: nil], on: own.loop) { _ in }
        own.sync()
        #expect(ended.value == 1 && !own.engine.access.hasUser("a"))
        sessions.leave(ticket)
        #expect(sessions.count == 1)
    }

    @Test(arguments: [true, false])
    func aPasswordThatWasTakenAwayWhileItWasCheckedIsWrong(isReplaced: Bool) throws {
        let own = try TestEngine()
        own.engine.access.set([key: password], on: own.loop) { _ in }
        own.sync()
        let elsewhere = EmbeddedEventLoop()
        let checks = PasswordChecks(access: own.engine.access, background: elsewhere)
        let right = Counter()
        func check() { checks.check(user: "a", password: "p", on: own.loop) { right.value += $0 ? 1 : 10 } }
        check()
        elsewhere.run()
        own.loop.run()
        #expect(right.value == 1)
        let other = ScramCredential(mechanism: .sha256, password: "p", salt: [3], iterations: 4_096)
        own.engine.access.set([key: other], on: own.loop) { _ in }
        own.sync()
        check()
        let next = ScramCredential(mechanism: .sha256, password: "q", salt: [2], iterations: 4_096)
        own.engine.access.set([key: isReplaced ? next : nil], on: own.loop) { _ in }
        own.sync()
        elsewhere.run()
        own.loop.run()
        #expect(right.value == 11, "it was right when the check began, and is not any more")
    }

    /// Names of clients' choice must not fill the memory.
    @Test func onlySoManyDecisionsAreRemembered() throws {
        let own = try TestEngine()
        own.engine.access.add([rule], on: own.loop) { _ in }
        own.sync()
        for number in 0..<Limits.rememberedDecisions + 10 { #expect(!mayRead(own.engine, "User:b", "\(number)")) }
        #expect(own.engine.access.rememberedDecisions == 10)
        #expect(!mayRead(own.engine, "User:b", String(repeating: "n", count: Limits.rememberedNameBytes + 1)))
        #expect(own.engine.access.rememberedDecisions == 10)
    }

    @Test func superUsersAndFreeResources() throws {
        let own = try TestEngine {
            $0.access.superUsers = ["User:root"]
            $0.access.allowsEveryoneWithoutRule = true
        }
        own.engine.access.add([rule], on: own.loop) { _ in }
        own.sync()
        #expect(mayRead(own.engine, "User:root"))
        #expect(!mayRead(own.engine, "User:b"))
        #expect(mayRead(own.engine, "User:b", "another"))
    }

    @Test func thereIsAlwaysSomethingFreeUnlessARuleSpeaksOfAll() throws {
        let own = try TestEngine { $0.access.allowsEveryoneWithoutRule = true }
        let change = { (rules: [AccessRule]) in
            own.engine.access.add(rules, on: own.loop) { _ in }
            own.sync()
        }
        let mayWriteSome = { own.engine.access.decideAny("User:b", host: "h", .write, .topic).isAllowed }
        change([AccessRule(.allow, "User:a", .all, .cluster, AccessRule.clusterName), AccessRule(.allow, "User:a", .write, .topic, "t")])
        #expect(mayWriteSome())
        change([AccessRule(.allow, "User:a", .all, .topic, "*")])
        #expect(!mayWriteSome())
        change([AccessRule(.allow, "User:b", .write, .topic, "b-", pattern: .prefixed)])
        #expect(mayWriteSome())
    }

    @Test func rulesAndPasswordsAreThereAfterARestartAndARewriting() throws {
        let disk = MemoryFileSystem()
        for rewrites in [false, true] {
            let own = try TestEngine(fileSystem: disk, durability: .disk)
            own.engine.access.add([rule, AccessRule(.deny, "User:a", .write, .topic, "t")], on: own.loop) { _ in }
            own.engine.access.remove([AccessRule(.deny, "User:a", .write, .topic, "t")], on: own.loop) { _ in }
            own.engine.access.set([key: password], on: own.loop) { _ in }
            own.sync()
            own.sync()
            if rewrites {
                own.engine.rewriteInternalLogs(largerThan: 0, on: own.loop)
                own.sync()
            }
            try own.engine.shutDown()
            let next = try TestEngine(fileSystem: disk, durability: .disk)
            #expect(next.engine.access.rules.all == [rule])
            #expect(next.engine.access.credential(of: "a", .sha256) == password)
            #expect(next.engine.access.credential(of: "a", .sha512) == nil)
            #expect(next.engine.access.credentials() == [key: 4_096])
            try next.engine.shutDown()
        }
    }

    @Test func aPasswordCanBeTakenBack() throws {
        let own = try TestEngine()
        own.engine.access.set([key: password], on: own.loop) { _ in }
        own.sync()
        own.engine.access.set([key: nil], on: own.loop) { _ in }
        own.sync()
        #expect(own.engine.access.credentials().isEmpty)
    }

    @Test func tooManyRulesAreRefusedWhole() throws {
        let own = try TestEngine()
        let many = (0...Limits.accessRules).map { AccessRule(.allow, "User:a", .read, .topic, "t\($0)") }
        let answer = Answer<Void>()
        own.engine.access.add(many, on: own.loop) { answer.result = $0 }
        own.sync()
        #expect(answer.error == .limitReached)
        #expect(own.engine.access.rules.all.isEmpty)
    }

    @Test func recordsReadWhatTheyWroteAndNothingElse() {
        let records: [AccessRecord] = [
            .rule(rule, isPresent: true), .rule(rule, isPresent: false), .credential(key, password), .credential(key, nil),
        ]
        for record in records {
            let (keyBytes, value) = record.encoded()
            #expect(MetadataRecord(key: ByteBuffer(bytes: keyBytes), value: value.map { ByteBuffer(bytes: $0) }) == .access(record))
            for length in 0..<(value?.count ?? 0) {
                let cut = ByteBuffer(bytes: value?.prefix(length) ?? [])
                #expect(MetadataRecord(key: ByteBuffer(bytes: keyBytes), value: cut) == nil)
            }
            for length in 1..<keyBytes.count {
                let cut = ByteBuffer(bytes: keyBytes.prefix(length))
                #expect(MetadataRecord(key: cut, value: value.map { ByteBuffer(bytes: $0) }) == nil)
            }
        }
    }
}

/// On one embedded loop.
private final class Counter: @unchecked Sendable {
    // Unchecked: see above.
    var value = 0
}
