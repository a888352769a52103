// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what one request asks of an external policy, and what it was told.
//
//   pass (asks, does nothing else) --all known--> then
//        ^                |some unknown
//        +--- answers <---+   each is asked once, a few at a time
//
// Confined to its request's event loop. A pass may run several times; what is unknown counts as denied in it, and its outcome is used only
// if there was nothing unknown. What was told stays as it is for this request, however soon it expires. One failure is
// enough: what has not been asked by then is not asked any more, so a request waits no longer than one timeout.

import NIOCore

package final class AccessInquiry: @unchecked Sendable {
    // Unchecked: see above; the policy's completions run on the loop and only hold the reference.
    package let client: AccessClient
    private let access: AccessControl
    private let policy: ExternalPolicy
    private let loop: any EventLoop
    private let isWanted: () -> Bool
    private var told: [AccessQuestion: AccessRules.Decision] = [:]
    private var unknown: Set<AccessQuestion> = []
    private var inFlight = 0
    private var failure: AccessRules.Decision?
    /// Runs the pass again.
    private var resume: (() -> Void)?
    /// What is to be said of the pass's decisions, once it counts.
    private var notes: [() -> Void] = []

    fileprivate init(
        _ client: AccessClient, access: AccessControl, policy: ExternalPolicy, loop: any EventLoop,
        isWanted: @escaping () -> Bool
    ) {
        self.isWanted = isWanted
        self.client = client
        self.access = access
        self.policy = policy
        self.loop = loop
    }

    package func decide(_ operation: AccessOperation, _ resource: ResourceType, _ name: String) -> AccessRules.Decision {
        let own = access.decide(client.principal, host: client.host, operation, resource, name)
        guard own.isUndecided else { return own }
        let question = AccessQuestion(client, operation, resource, name)
        if let decision = told[question] { return decision }
        if let isAllowed = policy.known(question) {
            let decision = AccessRules.Decision(isAllowed ? .allowed : .denied)
            told[question] = decision
            return decision
        }
        guard told.count + unknown.count < Limits.policyQuestionsPerRequest else {
            return .init(.failed("a request asks more than \(Limits.policyQuestionsPerRequest) questions"))
        }
        unknown.insert(question)
        return own
    }

    /// Has `note` run when the pass under way turns out to be the last.
    package func noting(_ note: @escaping () -> Void) { notes.append(note) }

    /// Runs `pass` until it finds everything decided, then `then`. At once, if it is.
    package func settle<Outcome>(_ pass: @escaping () -> Outcome, then: @escaping (Outcome) -> Void) {
        loop.assertInEventLoop()
        precondition(resume == nil, "an inquiry settles one thing at a time")
        notes = []
        let outcome = pass()
        guard !unknown.isEmpty else {
            let notes = notes
            self.notes = []
            for note in notes { note() }
            return then(outcome)
        }
        resume = { self.settle(pass, then: then) }
        askOn()
    }

    /// Nobody waits for the outcome any more.
    private func cancel() {
        resume = nil
        unknown = []
        notes = []
    }

    private func askOn() {
        if !isWanted() { cancel() }
        while inFlight < Limits.policyQuestionsAtOnce, let question = unknown.popFirst() {
            if let failure {
                told[question] = failure
                continue
            }
            inFlight += 1
            let answer = policy.ask(question, on: loop) { answer in
                self.received(answer, to: question)
                self.askOn()
            }
            if let answer { received(answer, to: question) }
        }
        guard inFlight == 0, unknown.isEmpty, let resume else { return }
        self.resume = nil
        resume()
    }

    private func received(_ answer: PolicyAnswer, to question: AccessQuestion) {
        inFlight -= 1
        let decision = AccessRules.Decision(answer)
        told[question] = decision
        if case .failed = answer { failure = decision }
    }
}

extension AccessControl {
    /// nil: nothing that this client asks has to be asked of others. `isWanted` turns false when nobody waits any more.
    package func inquiry(
        of client: AccessClient, on loop: any EventLoop, isWanted: @escaping () -> Bool = { true }
    ) -> AccessInquiry? {
        guard let policy, restricts(client.principal) else { return nil }
        return AccessInquiry(client, access: self, policy: policy, loop: loop, isWanted: isWanted)
    }
}

extension AccessRules.Decision {
    init(_ answer: PolicyAnswer) {
        switch answer {
        case .allowed: self.init(isAllowed: true, rule: nil, cause: "the external policy allows it")
        case .denied: self.init(isAllowed: false, rule: nil, cause: "the external policy does not allow it")
        case .failed(let cause): self.init(isAllowed: false, rule: nil, cause: "the external policy gave no decision: \(cause)")
        }
    }
}
