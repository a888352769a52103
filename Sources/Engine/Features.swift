// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the features of the broker (KIP-584): the table of what it supports, and the levels in force.
//
// Names, ranges and initial levels are those of a Kafka 4.0 node with a static quorum. Clients see the levels in
// ApiVersions and go by them: below `transaction.version` 2 a transactional producer keeps to version 1. Changed levels
// are one record in the metadata log; `epoch` grows with each change, so that clients know which answer is newer.

import NIOConcurrencyHelpers
import NIOCore

/// One row of the table; the raw value is Kafka's name.
package enum Feature: String, CaseIterable, Sendable {
    case groups = "group.version"
    case quorum = "kraft.version"
    case metadata = "metadata.version"
    case shares = "share.version"
    case transactions = "transaction.version"

    package var supported: ClosedRange<Int16> {
        switch self {
        case .groups: 0...1
        case .quorum: 0...1
        // 3.3-IV3 to 4.0-IV3.
        case .metadata: 7...25
        case .shares: 0...1
        case .transactions: 0...2
        }
    }

    /// In force until it is changed; 0 is not shown.
    package var initialLevel: Int16 {
        switch self {
        case .groups: 1
        case .quorum: 0
        case .metadata: 25
        case .shares: 1
        case .transactions: 2
        }
    }

    /// Whether UpdateFeatures may change it: one node has neither a quorum nor another format of metadata to change to.
    fileprivate var isAdjustable: Bool { self == .groups || self == .transactions }
}

/// One change that is asked for.
package struct FeatureUpdate: Sendable {
    /// Kafka's names and codes.
    package enum Kind: Int8, Sendable {
        case upgrade = 1
        case safeDowngrade = 2
        case unsafeDowngrade = 3
    }

    package var name: String
    package var level: Int16
    /// nil: none that is known.
    package var kind: Kind?

    package init(name: String, level: Int16, kind: Kind?) {
        self.name = name
        self.level = level
        self.kind = kind
    }
}

package enum FeatureRefusal: Error, Equatable, Sendable {
    /// INVALID_UPDATE_VERSION; for a person, with the reason.
    case invalidVersion(String)
    /// FEATURE_UPDATE_FAILED: the change could not be made durable.
    case failed(String)
}

package final class Features: @unchecked Sendable {
    // Unchecked: `state` is guarded by `lock`.
    package struct Levels: Equatable, Sendable {
        package var epoch: Int64 = 1
        package fileprivate(set) var levels = Dictionary(
            uniqueKeysWithValues: Feature.allCases.map { ($0, $0.initialLevel) })

        /// The levels in force that are shown, by name.
        package var finalized: [(name: String, level: Int16)] {
            levels.filter { $0.value > 0 }.map { ($0.key.rawValue, $0.value) }.sorted { $0.name < $1.name }
        }
    }

    /// Updates that wait for an earlier one; more are refused.
    private static let waitingMax = 100

    private let lock = NIOLock()
    private var state = Levels()
    private var isChanging = false
    private var waiting: [@Sendable () -> Void] = []
    private let log: InternalLog

    init(metadata log: InternalLog) {
        self.log = log
    }

    package var current: Levels { lock.withLock { state } }

    package func level(of feature: Feature) -> Int16 { lock.withLock { state.levels[feature] ?? 0 } }

    /// At start. What this version does not know, or does not support, is left at its initial level.
    func load(_ record: MetadataRecord.FeatureRecord) {
        lock.withLock {
            state.epoch = record.epoch
            for (name, level) in record.levels {
                guard let feature = Feature(rawValue: name), feature.isAdjustable, feature.supported.contains(level)
                else { continue }
                state.levels[feature] = level
            }
        }
    }

    /// The record that would restore this; nil if nothing was ever changed.
    func durableState() -> KeyedRecord? {
        let current = current
        return current == Levels() ? nil : Self.record(current).encoded()
    }

    /// Changes all levels or none. `completion` runs on `loop`, when the change is durable or refused.
    package func update(
        _ updates: [FeatureUpdate], validateOnly: Bool, on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, FeatureRefusal>) -> Void
    ) {
        let next: Result<Levels?, FeatureRefusal> = lock.withLock {
            guard !isChanging || validateOnly else {
                guard waiting.count < Self.waitingMax else { return .failure(.failed("too many updates at a time")) }
                waiting.append {
                    loop.execute { self.update(updates, validateOnly: validateOnly, on: loop, completion: completion) }
                }
                return .success(nil)
            }
            var next = state
            do throws(FeatureRefusal) {
                for update in updates { try Self.apply(update, to: &next) }
            } catch {
                return .failure(error)
            }
            isChanging = isChanging || !validateOnly
            return .success(next)
        }
        switch next {
        case .failure(let refusal): completion(.failure(refusal))
        case .success(nil): break
        case .success(let next?):
            if validateOnly { return completion(.success(())) }
            write(next, on: loop, completion: completion)
        }
    }

    private func write(
        _ changed: Levels, on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, FeatureRefusal>) -> Void
    ) {
        var next = changed
        next.epoch += 1
        let durable = next
        log.append([Self.record(durable).encoded()], on: loop) { result in
            let waiting = self.lock.withLock {
                if case .success = result { self.state = durable }
                self.isChanging = false
                defer { self.waiting = [] }
                return self.waiting
            }
            completion(result.mapError { .failed($0.message) })
            for each in waiting { each() }
        }
    }

    private static func apply(_ update: FeatureUpdate, to levels: inout Levels) throws(FeatureRefusal) {
        func refused(_ reason: String) -> FeatureRefusal {
            .invalidVersion("Invalid update version \(update.level) for feature \(update.name). \(reason)")
        }
        guard let kind = update.kind else { throw refused("The upgrade type is not supported.") }
        guard update.level >= 0 else { throw refused("A feature version cannot be less than 0.") }
        guard let feature = Feature(rawValue: update.name) else { throw refused("The feature is not supported.") }
        guard feature.supported.contains(update.level) else {
            let range = feature.supported
            throw refused("Only versions \(range.lowerBound) to \(range.upperBound) are supported.")
        }
        let current = levels.levels[feature] ?? 0
        if update.level < current, kind == .upgrade {
            throw refused("A lower version needs the upgrade type safe or unsafe downgrade.")
        }
        if update.level > current, kind != .upgrade { throw refused("A downgrade cannot lead to a newer version.") }
        guard update.level == current || feature.isAdjustable else { throw refused("This broker cannot change it.") }
        levels.levels[feature] = update.level
    }

    private static func record(_ levels: Levels) -> MetadataRecord {
        .features(
            MetadataRecord.FeatureRecord(
                epoch: levels.epoch,
                levels: Dictionary(uniqueKeysWithValues: levels.levels.map { ($0.key.rawValue, $0.value) })))
    }
}
