// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: whose quota counts, what clients share, what a restart keeps, and what is remembered.

import Bytes
import NIOCore
import Storage
import TestSupport
import Testing

@testable import Engine

@Suite struct ClientQuotasTests {
    private static let alice = QuotaEntity.Name.named("alice"), app = QuotaEntity.Name.named("app")

    private func client(_ user: String, _ clientId: String = "") -> QuotaClient {
        QuotaClient(principal: "User:\(user)", clientId: clientId)
    }

    private func set(_ test: TestEngine, _ entity: QuotaEntity, _ value: Double?, _ key: QuotaKey = .producerByteRate) throws {
        let answer = Answer<Void>()
        test.engine.quotas.change([QuotaChange(entity, key, value)], on: test.loop) { answer.result = $0 }
        #expect(answer.result == nil, "a change is answered when it is durable")
        test.sync()
        try #require(answer.result).get()
    }

    /// From the most specific one to the most general; each one alone, and with all behind it.
    private static let levels: [QuotaEntity] = [
        QuotaEntity(user: alice, clientId: app), QuotaEntity(user: alice, clientId: .others), QuotaEntity(user: alice),
        QuotaEntity(user: .others, clientId: app), QuotaEntity(user: .others, clientId: .others),
        QuotaEntity(user: .others), QuotaEntity(clientId: app), QuotaEntity(clientId: .others),
    ]

    @Test func theMostSpecificQuotaCounts() throws {
        var table = QuotaTable()
        for (index, entity) in Self.levels.enumerated().reversed() {
            table.apply(QuotaChange(entity, .producerByteRate, Double(index + 1)))
            #expect(table.limit(client("alice", "app"), .producerByteRate)?.limit == Double(index + 1), "\(entity)")
            #expect(table.limit(client("alice", "app"), .consumerByteRate) == nil)
        }
        #expect(table.limit(client("bob", "app"), .producerByteRate)?.limit == 4)
        #expect(table.limit(client("bob", "other"), .producerByteRate)?.limit == 5)
        #expect(table.limit(client("alice", "other"), .producerByteRate)?.limit == 2)
        #expect(table.count == 8)
    }

    @Test func aUsersConnectionsShareItsQuotaAndOthersDoNot() throws {
        let test = try TestEngine()
        let quotas = test.engine.quotas
        try set(test, QuotaEntity(user: .others), 1000)
        #expect(quotas.charge(client("alice", "one"), .producerByteRate, 9000) == 0)
        #expect(quotas.charge(client("bob", "one"), .producerByteRate, 9000) == 0)
        #expect(quotas.charge(client("alice", "two"), .producerByteRate, 9000) > 7000)
        #expect(quotas.charge(client("alice"), .consumerByteRate, 1e9) == 0)
    }

    @Test func aClientIdsQuotaIsSharedByAllUsers() throws {
        let test = try TestEngine()
        try set(test, QuotaEntity(clientId: Self.app), 1000)
        #expect(test.engine.quotas.charge(client("alice", "app"), .producerByteRate, 9000) == 0)
        #expect(test.engine.quotas.charge(client("bob", "app"), .producerByteRate, 9000) > 7000)
        #expect(test.engine.quotas.charge(client("bob", "other"), .producerByteRate, 1e9) == 0)
    }

    @Test func timePassesByTheBrokersClock() throws {
        let test = try TestEngine()
        try set(test, QuotaEntity(user: Self.alice), 1000)
        let throttleMs = test.engine.quotas.charge(client("alice"), .producerByteRate, 20_000)
        #expect((9_000...10_000).contains(throttleMs))
        test.clock.advance(ms: 11_000)
        #expect(test.engine.quotas.charge(client("alice"), .producerByteRate, 0) == 0)
    }

    @Test func requestTimeWaitsForNoMoreThanOneWindow() throws {
        let test = try TestEngine()
        try set(test, QuotaEntity(user: Self.alice), 1, .requestPercentage)
        test.engine.quotas.note(client("alice"), .requestPercentage, 1000)
        #expect(test.engine.quotas.charge(client("alice"), .requestPercentage, 0) == 1000)
    }

    @Test func timeIsMeasuredOnlyWhileThereIsAQuotaOfIt() throws {
        let test = try TestEngine()
        let quotas = test.engine.quotas
        try set(test, QuotaEntity(user: .others), 1000)
        #expect(quotas.isInForce && !quotas.limitsTime)
        try set(test, QuotaEntity(user: Self.alice), 10, .requestPercentage)
        #expect(quotas.limitsTime)
        // A tenth of ten seconds is one.
        #expect(quotas.charge(client("alice"), timeNs: 1_000_000_000) == 0)
        #expect(quotas.charge(client("alice"), timeNs: 50_000_000) == 500)
        try set(test, QuotaEntity(user: Self.alice), nil, .requestPercentage)
        #expect(quotas.isInForce && !quotas.limitsTime)
    }

    @Test func anAnswerThatIsHeldIsNotCountedAndOneThatIsTooLargeGoesOutAlone() throws {
        let test = try TestEngine()
        try set(test, QuotaEntity(user: Self.alice), 1000, .consumerByteRate)
        let quotas = test.engine.quotas
        #expect(quotas.answerMax(client("alice"), .consumerByteRate) == 10_000)
        let first = quotas.chargeAnswer(client("alice"), .consumerByteRate, 50_000)
        #expect(first.throttleMs == 11_000 && !first.isHeld)
        test.clock.advance(ms: 11_000)
        #expect(quotas.chargeAnswer(client("alice"), .consumerByteRate, 8_000) == (0, false))
        let held = quotas.chargeAnswer(client("alice"), .consumerByteRate, 8_000)
        #expect(held.throttleMs > 0 && held.isHeld)
        #expect(quotas.chargeAnswer(client("alice"), .consumerByteRate, 1_000) == (0, false))
    }

    @Test func partitionsThatAreOwedRefuseTheNextOnes() throws {
        let test = try TestEngine()
        try set(test, QuotaEntity(user: Self.alice), 1, .controllerMutationRate)
        let quotas = test.engine.quotas
        #expect(quotas.chargeMutations(client("alice"), 15, isStrict: true) == (0, false))
        let refused = quotas.chargeMutations(client("alice"), 1, isStrict: true)
        #expect(refused.throttleMs == 4000 && refused.isRefused)
        let taken = quotas.chargeMutations(client("alice"), 1, isStrict: false)
        #expect(taken.throttleMs == 5000 && !taken.isRefused)
    }

    @Test func connectionsOfAnAddressAreCounted() throws {
        let test = try TestEngine()
        try set(test, QuotaEntity(ip: .others), 1, .connectionCreationRate)
        let quotas = test.engine.quotas
        for _ in 0..<10 { #expect(quotas.chargeConnection(from: "10.0.0.1") == 0) }
        #expect(quotas.chargeConnection(from: "10.0.0.1") > 0)
        #expect(quotas.chargeConnection(from: "10.0.0.2") == 0)
    }

    @Test func quotasSurviveARestartAndWhatWasRemovedDoesNot() throws {
        let files = MemoryFileSystem()
        let test = try TestEngine(fileSystem: files)
        #expect(!test.engine.quotas.isInForce)
        try set(test, QuotaEntity(user: Self.alice), 1)
        try set(test, QuotaEntity(user: Self.alice), 2)
        try set(test, QuotaEntity(user: .others, clientId: Self.app), 3, .consumerByteRate)
        try set(test, QuotaEntity(ip: .named("::1")), 4, .connectionCreationRate)
        try set(test, QuotaEntity(ip: .named("::1")), nil, .connectionCreationRate)
        let before = test.engine.quotas.table
        #expect(before.count == 2)
        try test.engine.shutDown()
        let again = try TestEngine(fileSystem: files)
        #expect(again.engine.quotas.table == before)
        #expect(again.engine.quotas.isInForce)
        for entity in before.quotas.keys {
            for key in before.quotas[entity, default: [:]].keys { try set(again, entity, nil, key) }
        }
        #expect(!again.engine.quotas.isInForce)
    }

    @Test func theWholeStateIsWhatRecordsWouldMake() throws {
        let test = try TestEngine()
        for (index, entity) in Self.levels.enumerated() { try set(test, entity, Double(index) + 0.5, .requestPercentage) }
        var table = QuotaTable()
        for record in test.engine.quotas.durableState() {
            let read = MetadataRecord(key: ByteBuffer(bytes: record.key), value: record.value.map { ByteBuffer(bytes: $0) })
            guard case .quota(let change) = read else { return #expect(Bool(false), "no quota: \(record)") }
            table.apply(change)
        }
        #expect(table == test.engine.quotas.table)
    }

    @Test func onlySoManyClientsAreRemembered() throws {
        let test = try TestEngine()
        try set(test, QuotaEntity(user: .others), 1)
        for number in 0..<Limits.quotaUsages + 10 {
            test.clock.advance(ms: 1)
            _ = test.engine.quotas.charge(client("user\(number)"), .producerByteRate, 1)
        }
        #expect(test.engine.quotas.usageCount <= Limits.quotaUsages)
        // Who was there last is remembered.
        #expect(test.engine.quotas.charge(client("user\(Limits.quotaUsages + 9)"), .producerByteRate, 100) > 0)
    }

    @Test func thereAreOnlySoManyQuotas() throws {
        let test = try TestEngine()
        let many = (0...Limits.quotas).map { QuotaChange(QuotaEntity(user: .named("\($0)")), .producerByteRate, 1) }
        let answer = Answer<Void>()
        test.engine.quotas.change(many, on: test.loop) { answer.result = $0 }
        test.sync()
        #expect(answer.error == .limitReached)
    }
}
