// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the levels of features: what may be changed, and that it stays.

import NIOCore
import Storage
import TestSupport
import Testing

@testable import Engine

@Suite struct FeaturesTests {
    private final class Outcome: @unchecked Sendable {
        // Unchecked: tests run in one thread.
        var result: Result<Void, FeatureRefusal>?
    }

    private func update(
        _ test: TestEngine, _ name: String, _ level: Int16, _ kind: FeatureUpdate.Kind? = .upgrade,
        validateOnly: Bool = false
    ) -> FeatureRefusal? {
        let outcome = Outcome()
        test.engine.features.update(
            [FeatureUpdate(name: name, level: level, kind: kind)], validateOnly: validateOnly, on: test.loop
        ) { outcome.result = $0 }
        test.sync()
        test.sync()
        switch outcome.result {
        case .success: return nil
        case .failure(let refusal): return refusal
        case nil: return .failed("no answer")
        }
    }

    private func isInvalid(_ refusal: FeatureRefusal?) -> Bool {
        if case .invalidVersion = refusal { true } else { false }
    }

    @Test func aNewBrokerIsLikeKafka4() throws {
        let test = try TestEngine()
        let shown = test.engine.features.current.finalized.map { "\($0.name)=\($0.level)" }
        #expect(shown == ["group.version=1", "metadata.version=25", "share.version=1", "transaction.version=2"])
    }

    @Test func aLevelGoesDownAndUpAndSurvivesACrash() throws {
        let files = SimulatedFileSystem(seed: 1)
        var test = try TestEngine(fileSystem: files, durability: .disk)
        let epoch = test.engine.features.current.epoch
        #expect(update(test, "transaction.version", 1, .safeDowngrade) == nil)
        #expect(update(test, "group.version", 0, .unsafeDowngrade) == nil)
        files.crash(.loseUnsynced)
        test = try TestEngine(fileSystem: files, durability: .disk)
        #expect(test.engine.features.level(of: .transactions) == 1)
        #expect(test.engine.features.current.finalized.map(\.name) == ["metadata.version", "share.version", "transaction.version"])
        #expect(test.engine.features.current.epoch == epoch + 2)
        #expect(update(test, "transaction.version", 2) == nil)
        #expect(update(test, "transaction.version", 2) == nil)
        // The metadata log is written anew; the levels are still there.
        test.engine.rewriteInternalLogs(largerThan: 0, on: test.loop)
        for _ in 0..<4 { test.sync() }
        files.crash(.loseUnsynced)
        test = try TestEngine(fileSystem: files, durability: .disk)
        #expect(test.engine.features.level(of: .transactions) == 2)
        #expect(test.engine.features.level(of: .groups) == 0)
    }

    @Test func whatKafkaRefusesIsRefused() throws {
        let test = try TestEngine()
        let before = test.engine.features.current
        #expect(isInvalid(update(test, "transaction.version", 1)))
        #expect(isInvalid(update(test, "transaction.version", 3)))
        #expect(isInvalid(update(test, "transaction.version", -1, .safeDowngrade)))
        #expect(isInvalid(update(test, "transaction.version", 1, nil)))
        #expect(isInvalid(update(test, "group.version", 2)))
        #expect(isInvalid(update(test, "no.such.version", 1)))
        #expect(isInvalid(update(test, "metadata.version", 24, .safeDowngrade)))
        #expect(isInvalid(update(test, "metadata.version", 6, .safeDowngrade)))
        #expect(isInvalid(update(test, "kraft.version", 1)))
        #expect(update(test, "metadata.version", 25) == nil)
        #expect(test.engine.features.current.levels == before.levels)
    }

    @Test func validationChangesNothing() throws {
        let test = try TestEngine()
        let before = test.engine.features.current
        #expect(update(test, "transaction.version", 0, .safeDowngrade, validateOnly: true) == nil)
        #expect(isInvalid(update(test, "transaction.version", 0, validateOnly: true)))
        #expect(test.engine.features.current == before)
    }

    @Test func allAreChangedOrNone() throws {
        let test = try TestEngine()
        let outcome = Outcome()
        test.engine.features.update(
            [
                FeatureUpdate(name: "transaction.version", level: 1, kind: .safeDowngrade),
                FeatureUpdate(name: "group.version", level: 9, kind: .upgrade),
            ], validateOnly: false, on: test.loop
        ) { outcome.result = $0 }
        test.sync()
        guard case .failure(.invalidVersion) = outcome.result else { return #expect(Bool(false), "not refused") }
        #expect(test.engine.features.level(of: .transactions) == 2)
    }

    @Test func updatesFollowEachOther() throws {
        let test = try TestEngine(durability: .disk)
        let outcomes = [Outcome(), Outcome()]
        for (outcome, level) in zip(outcomes, [1, 0] as [Int16]) {
            test.engine.features.update(
                [FeatureUpdate(name: "transaction.version", level: level, kind: .safeDowngrade)], validateOnly: false,
                on: test.loop
            ) { outcome.result = $0 }
        }
        for _ in 0..<4 { test.sync() }
        for outcome in outcomes {
            guard case .success = outcome.result else { return #expect(Bool(false), "not answered") }
        }
        #expect(test.engine.features.level(of: .transactions) == 0)
    }

    @Test func aFailedDiskChangesNothing() throws {
        let files = SimulatedFileSystem(seed: 1)
        let test = try TestEngine(fileSystem: files, durability: .disk)
        files.crash(atChange: files.changeCount)
        let refusal = update(test, "transaction.version", 1, .safeDowngrade)
        guard case .failed = refusal else { return #expect(Bool(false), "\(String(describing: refusal))") }
        #expect(test.engine.features.level(of: .transactions) == 2)
    }
}
