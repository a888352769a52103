// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: martlet.v1.Work: its methods, and how a worker begins.
//
// Behaviour: `open` makes the caller a member of the share group, with every partition of its topics, and is answered when the group's
//   start in each of them is durable. The items and what is said of them are the business of `Worker`.

import Bytes
import Contract
import Engine
import GRPCWire
import NIOCore
import Transport

struct WorkService: Sendable {
    static let name = "martlet.v1.Work"

    let engine: Engine

    var methods: [GRPCMethod] {
        [
            GRPCMethod(Self.name, "Receive", session: { call in Worker(self, call) }),
            GRPCMethod(Self.name, "Redrive") { (request: Martlet_V1_RedriveRequest, call) in redrive(request, call) },
            GRPCMethod(Self.name, "DescribeDeadLetters") { (request: Martlet_V1_DescribeDeadLettersRequest, call) in
                describeDeadLetters(request, call)
            },
        ]
    }

    // MARK: Opening

    /// Makes a member of the worker. Everything that is wrong with the request ends the call.
    func begin(_ open: Martlet_V1_WorkOpen, _ worker: Worker) {
        worker.call.authorize { () throws(GRPCStatus) in
            try allowed(open, worker.call)
        } then: { topics, changes throws(GRPCStatus) in
            try begin(open, worker, topics, changes)
        }
    }

    /// The topics, and the settings that change.
    private func allowed(
        _ open: Martlet_V1_WorkOpen, _ call: GRPCCall
    ) throws(GRPCStatus) -> ([Topic], [String: String]) {
        try call.require(.read, .group, open.group)
        for topic in open.topics { try call.require(.read, .topic, topic) }
        let topics = try check(open)
        let changes = settings(open)
        if let topic = changes[ShareGroupSettings.deadLetterTopic],
            topic != deadLetterTopic(of: open.group) || hasDeadLetterTopic(open.group)
        {
            // Where a group's records end is not for everybody who may read it, once it is not the usual place.
            try call.require(.alterConfigs, .group, open.group)
            if !topic.isEmpty { try call.require(.write, .topic, topic) }
        }
        return (topics, changes)
    }

    private func begin(
        _ open: Martlet_V1_WorkOpen, _ worker: Worker, _ topics: [Topic], _ changes: [String: String]
    ) throws(GRPCStatus) {
        let call = worker.call
        let id = ShareMemberId("worker-\(TopicId(random: { .random(in: .min ... .max) }))")
        do throws(ShareError) {
            try engine.shares.join(
                worker: id, of: open.group, topics: open.topics, clientHost: "/\(call.peer.remoteAddress)")
        } catch {
            throw error == .invalidGroupId
                ? GRPCStatus(error).at("open.group") : GRPCStatus(error).about("group", open.group)
        }
        worker.joined(open, id: id, topics: topics)
        guard !changes.isEmpty else { return worker.open() }
        let group = ConfigurationResource(.group, open.group)
        let audit = call.auditing("Receive", "group", open.group) { engine.configurations.overrides(of: group) }
        engine.configurations.alter(group, on: call.loop) { current in
            current.merging(changes) { $1 }
        }.whenComplete { result in
            switch result {
            case .success:
                audit(nil)
                worker.open()
            case .failure(let error):
                audit(error)
                call.fail(GRPCStatus(error).about("group", open.group))
            }
        }
    }

    private func check(_ open: Martlet_V1_WorkOpen) throws(GRPCStatus) -> [Topic] {
        guard !open.group.isEmpty else { throw .invalid("open.group", "group is empty; name a share group") }
        guard (1...Limits.topicsPerWorker).contains(open.topics.count), Set(open.topics).count == open.topics.count else {
            throw .invalid(
                "open.topics", "topics has to name 1 to \(Limits.topicsPerWorker) topics, none of them twice")
        }
        guard open.maxInFlight <= UInt32(Limits.workItemsMax) else {
            throw .invalid("open.max_in_flight", "max_in_flight is above the \(Limits.workItemsMax) allowed")
        }
        try checkLease(open.leaseMs, of: "open")
        guard !open.topics.contains(open.deadLetterTopic) else {
            throw .invalid("open.dead_letter_topic", "dead_letter_topic is one of the topics")
        }
        if case .UNRECOGNIZED(let value) = open.origin {
            throw .invalid("open.origin", "origin \(value) is unknown")
        }
        var topics: [Topic] = []
        for name in open.topics {
            guard let topic = engine.topics.topic(named: name) else {
                throw GRPCStatus.unknown(topic: name)
            }
            guard !topic.isInternal else { throw .internalTopic(name, field: "open.topics") }
            topics.append(topic)
        }
        let count = topics.reduce(0) { $0 + $1.partitionCount }
        guard count <= Limits.partitionsPerRequest else {
            throw .invalid("open.topics", "topics has more than \(Limits.partitionsPerRequest) partitions together")
        }
        return topics
    }

    func checkLease(_ leaseMs: UInt32, of kind: String) throws(GRPCStatus) {
        let allowed = Limits.leaseMsMin...Int(engine.shares.configuration.maxRecordLockDurationMs)
        guard leaseMs == 0 || allowed.contains(Int(leaseMs)) else {
            throw .invalid(
                "\(kind).lease_ms", "lease_ms must lie between \(allowed.lowerBound) and \(allowed.upperBound); extend an item that takes longer")
        }
    }

    /// What of the group's settings the worker changes.
    private func settings(_ open: Martlet_V1_WorkOpen) -> [String: String] {
        let current = engine.configurations.overrides(of: ConfigurationResource(.group, open.group))
        var changes: [String: String] = [:]
        switch open.origin {
        case .earliest: changes[ShareGroupSettings.offsetReset] = "earliest"
        case .latest: changes[ShareGroupSettings.offsetReset] = "latest"
        case .unspecified, .UNRECOGNIZED: break
        }
        if open.hasDeadLetterTopic {
            changes[ShareGroupSettings.deadLetterTopic] = open.deadLetterTopic
        } else if current[ShareGroupSettings.deadLetterTopic] == nil {
            changes[ShareGroupSettings.deadLetterTopic] = deadLetterTopic(of: open.group)
        }
        return changes.filter { current[$0.key] != $0.value }
    }

    private func hasDeadLetterTopic(_ group: String) -> Bool {
        engine.configurations.overrides(of: ConfigurationResource(.group, group))[ShareGroupSettings.deadLetterTopic] != nil
    }

    private func deadLetterTopic(of group: String) -> String {
        let isLegal = { (character: Character) in
            character.isASCII && (character.isLetter || character.isNumber || "._-".contains(character))
        }
        let name = engine.shares.configuration.deadLetterTopicPrefix + group.map { isLegal($0) ? $0 : "-" }
        return String(name.prefix(249))
    }
}
