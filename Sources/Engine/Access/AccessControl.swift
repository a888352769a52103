// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: who may do what, for both protocols: the rules, the passwords, and every change to them.
//
// Decisions never wait; those made before are remembered until the rules change. A change is bounded, appended to the metadata log, and in force and
// answered once it is durable. All changes go through one event loop, so that what is in force is what a restart
// would replay. Without any rule everybody may do everything; from the first rule on, what no rule allows is denied,
// or, with `allowsEveryoneWithoutRule`, only what some rule speaks of. Where there is an external policy, it decides what no rule
// denies; whoever asks without having asked it (`AccessInquiry`) gets what is known, and otherwise no.

import NIOConcurrencyHelpers
import NIOCore
import Security
import Synchronization

/// Which password.
package struct CredentialKey: Hashable, Sendable {
    package var user: String
    package var mechanism: ScramMechanism

    package init(user: String, mechanism: ScramMechanism) {
        self.user = user
        self.mechanism = mechanism
    }
}

package struct AccessConfiguration: Equatable, Sendable {
    /// May do everything; `User:` and a name.
    package var superUsers: Set<String> = []
    /// Whether a resource that no rule speaks of is free to all, once there are rules
    /// (`allow.everyone.if.no.acl.found`).
    package var allowsEveryoneWithoutRule = false
    /// What tokens must be like (SASL OAUTHBEARER).
    package var tokens = TokenRules()
    /// How long an external policy's decisions are good, if there is one.
    package var policy = PolicyConfiguration()

    package init() {}
}

package final class AccessControl: Sendable {
    package typealias Completion = @Sendable (Result<Void, EngineError>) -> Void

    /// For how long after it should be asked anew an external policy's decision is good for what a group's pattern matches:
    /// nobody can wait for an answer there.
    package static let patternGraceMs: Int64 = 60_000

    package let configuration: AccessConfiguration
    package let policy: ExternalPolicy?
    /// Of the rules.
    package let changes = Changes()
    package let sessions = UserSessions()
    private let metadata: InternalLog
    private let loop: any EventLoop
    private let state = NIOLockedValueBox(State())
    /// Told by `isOpen`; changes with the rules.
    private let hasNothingToDecide: Synchronization.Atomic<Bool>

    fileprivate struct State {
        var rules = AccessRules()
        /// Those of the configuration, or others since.
        var superUsers: Set<String> = []
        var credentials: [CredentialKey: ScramCredential] = [:]
        /// What the rules said before; emptied when they change, and when there are many.
        var decisions: [Question: AccessRules.Decision] = [:]
    }

    /// What is asked of the rules. Without a name: whether there is any such resource.
    fileprivate struct Question: Hashable {
        var principal: String
        var host: String
        var operation: AccessOperation
        var resource: ResourceType
        var name: String?
    }

    init(
        configuration: AccessConfiguration, policy: ExternalPolicy? = nil, metadata: InternalLog, loop: any EventLoop
    ) {
        self.configuration = configuration
        self.policy = policy
        self.metadata = metadata
        self.loop = loop
        hasNothingToDecide = .init(policy == nil)
        state.withLockedValue { $0.superUsers = configuration.superUsers }
    }

    /// From now on these are the super users. What others had begun as such is looked at again.
    package func use(superUsers: Set<String>) {
        let isOther = state.withLockedValue { state in
            defer { state.superUsers = superUsers }
            return state.superUsers != superUsers
        }
        if isOther { changes.happened() }
    }

    /// What the metadata log knew. At start.
    func load(_ records: [AccessRecord]) {
        state.withLockedValue { _ = apply(records, to: &$0) }
    }

    /// The records that would restore this, in a fixed order.
    func durableState() -> [KeyedRecord] {
        let (rules, credentials) = state.withLockedValue { ($0.rules.all, $0.credentials) }
        let records =
            rules.map { AccessRecord.rule($0, isPresent: true).encoded() }
            + credentials.map { AccessRecord.credential($0.key, $0.value).encoded() }
        return records.sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }

    // MARK: Decisions

    /// Whether everybody may do everything: there are no rules and no external policy. For every request, and so without the lock.
    package var isOpen: Bool { hasNothingToDecide.load(ordering: .acquiring) }

    /// Whether there is anything that this principal may not do.
    package func restricts(_ principal: String) -> Bool {
        !isOpen && state.withLockedValue { !$0.superUsers.contains(principal) }
    }

    /// What is known now: for those who cannot wait. `graceMs`: for how long what the external policy said is good enough
    /// after it should be asked anew.
    package func decide(
        _ client: AccessClient, _ operation: AccessOperation, _ resource: ResourceType, _ name: String, graceMs: Int64 = 0
    ) -> AccessRules.Decision {
        let own = decide(client.principal, host: client.host, operation, resource, name)
        guard own.isUndecided, let policy else { return own }
        guard let isAllowed = policy.known(AccessQuestion(client, operation, resource, name), graceMs: graceMs) else {
            return own
        }
        return .init(isAllowed ? .allowed : .denied)
    }

    package func decide(
        _ principal: String, host: String, _ operation: AccessOperation, _ resource: ResourceType, _ name: String
    ) -> AccessRules.Decision {
        if isOpen { return .init(isAllowed: true, rule: nil) }
        return answer(Question(principal: principal, host: host, operation: operation, resource: resource, name: name)) { rules in
            let decision = rules.decide(principal, host: host, operation, resource, name)
            if policy != nil { return decision.rule?.permission == .deny ? decision : .undecided }
            if decision.rule == nil, configuration.allowsEveryoneWithoutRule, !rules.speaks(of: resource, name) {
                return .init(isAllowed: true, rule: nil)
            }
            return decision
        }
    }

    /// Whether there is some resource of this type that the principal may use so (KIP-679); an external policy cannot
    /// be asked that.
    package func decideAny(
        _ principal: String, host: String, _ operation: AccessOperation, _ resource: ResourceType
    ) -> AccessRules.Decision {
        answer(Question(principal: principal, host: host, operation: operation, resource: resource)) {
            if policy != nil { return .undecided }
            let decision = $0.decideAny(principal, host: host, operation, resource)
            // What no rule speaks of is free, and there is always some of it, unless a rule speaks of all.
            guard decision.rule == nil, configuration.allowsEveryoneWithoutRule, !$0.speaksOfAll(resource) else { return decision }
            return .init(isAllowed: true, rule: nil)
        }
    }

    /// What was said before, or what `decide` says.
    private func answer(_ question: Question, _ decide: (AccessRules) -> AccessRules.Decision) -> AccessRules.Decision {
        state.withLockedValue { state in
            if !state.superUsers.isEmpty, state.superUsers.contains(question.principal) {
                return .init(isAllowed: true, rule: nil)
            }
            if state.rules.all.isEmpty { return policy == nil ? .init(isAllowed: true, rule: nil) : .undecided }
            if let known = state.decisions[question] { return known }
            let decision = decide(state.rules)
            guard (question.name?.utf8.count ?? 0) <= Limits.rememberedNameBytes else { return decision }
            if state.decisions.count >= Limits.rememberedDecisions { state.decisions = [:] }
            state.decisions[question] = decision
            return decision
        }
    }

    var rememberedDecisions: Int { state.withLockedValue { $0.decisions.count } }

    // MARK: Rules

    package var rules: AccessRules { state.withLockedValue { $0.rules } }

    package func add(_ added: [AccessRule], on loop: any EventLoop, completion: @escaping Completion) {
        change(on: loop, completion: completion) { (state) throws(EngineError) in
            guard state.rules.all.union(added).count <= Limits.accessRules else {
                throw EngineError(.limitReached, "there would be more than \(Limits.accessRules) access rules")
            }
            return added.map { .rule($0, isPresent: true) }
        }
    }

    package func remove(_ removed: [AccessRule], on loop: any EventLoop, completion: @escaping Completion) {
        change(on: loop, completion: completion) { _ in removed.map { .rule($0, isPresent: false) } }
    }

    // MARK: Passwords

    package func credential(of user: String, _ mechanism: ScramMechanism) -> ScramCredential? {
        state.withLockedValue { $0.credentials[CredentialKey(user: user, mechanism: mechanism)] }
    }

    /// Whether there is a password of this user.
    package func hasUser(_ user: String) -> Bool { state.withLockedValue { $0.hasUser(user) } }

    /// Whether anybody can log in with a password.
    package var hasUsers: Bool { state.withLockedValue { !$0.credentials.isEmpty } }

    /// Mechanisms and iterations of every user, or of one.
    package func credentials(of user: String? = nil) -> [CredentialKey: Int32] {
        state.withLockedValue { state in
            guard let user else { return state.credentials.mapValues(\.iterations) }
            let keys = ScramMechanism.allCases.map { CredentialKey(user: user, mechanism: $0) }
            return Dictionary(uniqueKeysWithValues: keys.compactMap { key in state.credentials[key].map { (key, $0.iterations) } })
        }
    }

    package func set(
        _ credentials: [CredentialKey: ScramCredential?], on loop: any EventLoop, completion: @escaping Completion
    ) {
        change(on: loop, completion: completion) { (state) throws(EngineError) in
            let added = credentials.filter { $0.value != nil && state.credentials[$0.key] == nil }.count
            guard state.credentials.count + added <= Limits.credentials else {
                throw EngineError(.limitReached, "there would be more than \(Limits.credentials) passwords")
            }
            return credentials.map { .credential($0.key, $0.value) }
        }
    }

    // MARK: Changes

    /// `records` must not leave out what the state already is: an earlier change may still be under way.
    private func change(
        on loop: any EventLoop, completion: @escaping Completion,
        _ records: @escaping @Sendable (State) throws(EngineError) -> [AccessRecord]
    ) {
        let answer: Completion = { result in
            if loop.inEventLoop { completion(result) } else { loop.execute { completion(result) } }
        }
        self.loop.execute {
            do throws(EngineError) {
                let changes = try records(self.state.withLockedValue { $0 })
                self.metadata.append(changes.map { $0.encoded() }, on: self.loop) { result in
                    guard case .success = result else { return answer(result) }
                    let about = self.putInForce(changes)
                    // Whoever removes itself gets its answer.
                    answer(result)
                    self.tell(about)
                }
            } catch {
                answer(.failure(error))
            }
        }
    }

    /// Returns whether the rules are others now, and which users there are no more.
    private func putInForce(_ changes: [AccessRecord]) -> (hasOtherRules: Bool, removed: [String]) {
        state.withLockedValue { state in
            let isOther = apply(changes, to: &state)
            var touched: Set<String> = []
            for case .credential(let key, .none) in changes { touched.insert(key.user) }
            return (hasOtherRules: isOther, removed: touched.filter { !state.hasUser($0) }.sorted())
        }
    }

    private func apply(_ changes: [AccessRecord], to state: inout State) -> Bool {
        defer { hasNothingToDecide.store(policy == nil && state.rules.all.isEmpty, ordering: .releasing) }
        return state.apply(changes)
    }

    /// Those whom a change is about. What a user has begun whose password is another one goes on, as in Kafka.
    private func tell(_ about: (hasOtherRules: Bool, removed: [String])) {
        if about.hasOtherRules { changes.happened() }
        if !about.removed.isEmpty { sessions.end(about.removed, on: loop) }
    }
}

extension AccessControl.State {
    fileprivate func hasUser(_ user: String) -> Bool {
        ScramMechanism.allCases.contains { credentials[CredentialKey(user: user, mechanism: $0)] != nil }
    }

    /// Whether the rules are others now.
    fileprivate mutating func apply(_ records: [AccessRecord]) -> Bool {
        var all = rules.all
        for record in records {
            switch record {
            case .rule(let rule, true): all.insert(rule)
            case .rule(let rule, false): all.remove(rule)
            case .credential(let key, let credential): credentials[key] = credential
            }
        }
        guard all != rules.all else { return false }
        rules = AccessRules(all)
        decisions = [:]
        return true
    }
}
