// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the configurations of brokers, groups and client metrics that were set while the broker ran.
//
//   change:  checked against what is there -> durable in the metadata log -> in the table -> in force -> answered
//
// Changes of one resource happen one after the other, those of different ones side by side. The table is guarded by
// `lock`, held for look-ups and replacements only. Topics keep theirs themselves (`TopicCatalog`).

import NIOConcurrencyHelpers
import NIOCore

package final class ResourceConfigurations: @unchecked Sendable {
    // Unchecked: `state` is guarded by `lock`; everything else is set once.
    private let lock = NIOLock()
    private var state = State()
    private let metadata: InternalLog
    private let rules: ConfigurationRules
    /// Puts a resource's new overrides in force.
    private let onChange: @Sendable (ConfigurationResource, [String: String]) -> Void

    private struct State {
        var table: [ConfigurationResource: [String: String]] = [:]
        /// Keys are the resources that are being changed; values are what waits for that.
        var changing: [ConfigurationResource: CircularBuffer<Change>] = [:]
        var waiting = 0
        /// Of the table, and of changes under way that make it larger.
        var bytes = 0
        var revision = 0
    }

    private struct Change {
        var loop: any EventLoop
        var edit: @Sendable ([String: String]) throws(EngineError) -> [String: String]
        var promise: EventLoopPromise<Void>
    }

    init(
        metadata: InternalLog, rules: ConfigurationRules,
        onChange: @escaping @Sendable (ConfigurationResource, [String: String]) -> Void
    ) {
        self.metadata = metadata
        self.rules = rules
        self.onChange = onChange
    }

    /// What the metadata log knew. At start, before anything is served. Returns those that are no longer accepted, which
    /// are kept but not in force.
    func load(_ found: [ConfigurationResource: [String: String]]) -> [ConfigurationResource] {
        var refused: [ConfigurationResource] = []
        for (resource, overrides) in found.sorted(by: { $0.key.name < $1.key.name }) {
            lock.withLock {
                state.table[resource] = overrides
                state.bytes += Self.bytes(resource, overrides)
            }
            do throws(EngineError) {
                try rules.check(resource, overrides)
                onChange(resource, overrides)
            } catch {
                refused.append(resource)
            }
        }
        return refused
    }

    /// The records that would restore the table.
    func durableState() -> [KeyedRecord] {
        lock.withLock { state.table }.map { MetadataRecord.configuration($0.key, overrides: $0.value).encoded() }
    }
}

// MARK: - Look-ups

extension ResourceConfigurations {
    package func overrides(of resource: ConfigurationResource) -> [String: String] {
        lock.withLock { state.table[resource] ?? [:] }
    }

    /// The names that have overrides, in order.
    package func names(of kind: ConfigurationResource.Kind) -> [String] {
        lock.withLock { state.table.keys.filter { $0.kind == kind }.map(\.name) }.sorted()
    }

    /// Grows with every change.
    package var revision: Int { lock.withLock { state.revision } }
}

// MARK: - Changes

extension ResourceConfigurations {
    /// Checks what `alter` would make of it, and changes nothing.
    package func validate(
        _ resource: ConfigurationResource, edit: ([String: String]) throws(EngineError) -> [String: String]
    ) throws(EngineError) {
        _ = try edited(resource, edit)
    }

    /// Replaces the resource's overrides by what `edit` makes of them, all or nothing; succeeds when that is durable and
    /// in force.
    package func alter(
        _ resource: ConfigurationResource, on loop: any EventLoop,
        edit: @escaping @Sendable ([String: String]) throws(EngineError) -> [String: String]
    ) -> EventLoopFuture<Void> {
        let change = Change(loop: loop, edit: edit, promise: loop.makePromise())
        let isFirst: Bool? = lock.withLock {
            guard state.changing[resource] != nil else {
                state.changing[resource] = []
                return true
            }
            guard state.waiting < Limits.configurationChangesWaiting else { return nil }
            state.changing[resource]?.append(change)
            state.waiting += 1
            return false
        }
        switch isFirst {
        case true?: start(change, resource)
        case false?: break
        case nil: change.promise.fail(EngineError(.limitReached, "too many changes of configurations wait; try again"))
        }
        return change.promise.futureResult
    }

    /// On the change's loop.
    private func start(_ change: Change, _ resource: ConfigurationResource) {
        do throws(EngineError) {
            let overrides = try edited(resource, change.edit)
            let growth = try grow(resource, to: overrides)
            metadata.append(
                [MetadataRecord.configuration(resource, overrides: overrides).encoded()], on: change.loop
            ) { result in
                switch result {
                case .success:
                    self.insert(resource, overrides, growth)
                    self.onChange(resource, overrides)
                    self.finish(change, resource, .success(()))
                case .failure(let error):
                    self.lock.withLock { self.state.bytes -= max(0, growth) }
                    self.finish(change, resource, .failure(error))
                }
            }
        } catch {
            finish(change, resource, .failure(error))
        }
    }

    private func edited(
        _ resource: ConfigurationResource, _ edit: ([String: String]) throws(EngineError) -> [String: String]
    ) throws(EngineError) -> [String: String] {
        guard resource.name.utf8.count <= Limits.resourceNameBytes else {
            throw EngineError(.invalidRequest, "the resource's name is longer than \(Limits.resourceNameBytes) bytes")
        }
        let overrides = try edit(overrides(of: resource))
        for (name, value) in overrides where name.utf8.count + value.utf8.count > Limits.configurationValueBytes {
            throw EngineError(
                .invalidConfiguration,
                "the value of \(name.prefix(100)) is longer than \(Limits.configurationValueBytes) bytes")
        }
        try rules.check(resource, overrides)
        return overrides
    }

    /// Makes room; returns how much larger (or smaller) the table becomes.
    private func grow(_ resource: ConfigurationResource, to overrides: [String: String]) throws(EngineError) -> Int {
        try lock.withLockTyped { () throws(EngineError) -> Int in
            let old = state.table[resource]
            let growth = (overrides.isEmpty ? 0 : Self.bytes(resource, overrides)) - (old.map { Self.bytes(resource, $0) } ?? 0)
            guard growth > 0 else { return growth }
            guard old != nil || state.table.count < Limits.configuredResources,
                state.bytes + growth <= Limits.configurationBytes
            else {
                throw EngineError(
                    .limitReached,
                    "no more than \(Limits.configuredResources) groups and subscriptions of \(Limits.configurationBytes) bytes have configurations")
            }
            state.bytes += growth
            return growth
        }
    }

    private func insert(_ resource: ConfigurationResource, _ overrides: [String: String], _ growth: Int) {
        lock.withLock {
            state.table[resource] = overrides.isEmpty ? nil : overrides
            state.bytes += min(0, growth)
            state.revision += 1
        }
    }

    /// Answers, and starts what waited for this change.
    private func finish(_ change: Change, _ resource: ConfigurationResource, _ result: Result<Void, EngineError>) {
        let next: Change? = lock.withLock {
            guard let next = state.changing[resource]?.popFirst() else {
                state.changing[resource] = nil
                return nil
            }
            state.waiting -= 1
            return next
        }
        change.promise.completeWith(result.mapError { $0 as any Error })
        if let next { next.loop.execute { self.start(next, resource) } }
    }

    private static func bytes(_ resource: ConfigurationResource, _ overrides: [String: String]) -> Int {
        overrides.reduce(resource.name.utf8.count + 64) { $0 + $1.key.utf8.count + $1.value.utf8.count + 64 }
    }
}
