// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: random clients against a classic group, from seeds, with what must hold checked throughout.

import NIOCore
import Testing

@testable import Engine

/// SplitMix64: small, seeded, the same everywhere.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// A few clients that join, sync, heartbeat, leave, restart and vanish.
private final class RandomClients {
    struct Client {
        let instance: String?
        var id = ""
        var protocols: [String: String]
        var join: GroupToken?
        var sync: GroupToken?
        /// Of the last join answered.
        var generation: Int32 = -1
        var isLeader = false
        /// What it was told to consume in `generation`.
        var assignment: String?
    }

    let it: GroupFixture
    var clients: [Client]
    var generator: SeededGenerator
    /// Every request ever parked or answered: which client sent it.
    var joinTokens: [GroupToken] = []
    var syncTokens: [GroupToken] = []
    /// Generation → what the leader assigned, by group instance id or member id.
    var assigned: [Int32: [String: String]] = [:]

    init(seed: UInt64, membersMax: Int) {
        generator = SeededGenerator(state: seed)
        let delayMs: Int64 = Bool.random(using: &generator) ? 0 : 3_000
        it = GroupFixture {
            $0.initialRebalanceDelayMs = delayMs
            $0.membersMax = membersMax
        }
        clients = (0..<5).map { Client(instance: $0 < 2 ? "i\($0)" : nil, protocols: ["range": "0"]) }
    }

    private func key(_ index: Int, _ id: String) -> String { clients[index].instance ?? id }

    // MARK: What clients do

    func join(_ index: Int) {
        let client = clients[index]
        // The versions differ in how new and returning members are treated.
        let version = client.instance == nil && client.id.isEmpty ? [3, 5, 9].randomElement(using: &generator)! : 9
        let token = it.join(
            client.id, version: version, instance: client.instance, protocols: client.protocols,
            rebalanceMs: [5_000, 20_000].randomElement(using: &generator)!)
        joinTokens.append(token)
        clients[index].join = token
        clients[index].sync = nil
    }

    func sync(_ index: Int) {
        let client = clients[index]
        var assignments: [String: String] = [:]
        if client.isLeader && it.group.isLeader(client.id) {
            for member in it.group.membersByAge {
                assignments[member.id] = "\(client.generation)/\(member.groupInstanceId ?? member.id)"
            }
            if it.group.state == .completingRebalance && it.group.generationId == client.generation {
                for member in it.group.membersByAge {
                    assigned[client.generation, default: [:]][member.groupInstanceId ?? member.id] =
                        assignments[member.id]
                }
            }
        }
        let token = it.sync(
            client.id, instance: client.instance, generation: client.generation, assignments: assignments)
        syncTokens.append(token)
        clients[index].sync = token
    }

    /// Reads what has been answered since.
    func read(_ index: Int) {
        if let token = clients[index].join, let answer = it.joins[token] {
            clients[index].join = nil
            switch answer.error {
            case nil:
                clients[index].id = answer.memberId
                clients[index].generation = answer.generationId
                clients[index].isLeader = answer.leaderId == answer.memberId && !answer.skipAssignment
                clients[index].assignment = nil
                #expect(answer.protocolName == "range")
            case .memberIdRequired: clients[index].id = answer.memberId
            case .unknownMemberId, .fencedInstanceId, .groupMaxSizeReached: reset(index)
            case .rebalanceInProgress: break
            default: Issue.record("a join was answered with \(String(describing: answer.error))")
            }
        }
        if let token = clients[index].sync, let answer = it.syncs[token] {
            clients[index].sync = nil
            switch answer.error {
            case nil:
                let expected = assigned[clients[index].generation]?[key(index, clients[index].id)]
                #expect(expected != nil, "an assignment of a generation that the leader never assigned")
                #expect(answer.assignment.text == expected)
                clients[index].assignment = answer.assignment.text
            case .unknownMemberId, .fencedInstanceId: reset(index)
            case .rebalanceInProgress, .illegalGeneration: clients[index].generation = -1
            default: Issue.record("a sync was answered with \(String(describing: answer.error))")
            }
        }
    }

    func reset(_ index: Int) {
        clients[index].id = ""
        clients[index].generation = -1
        clients[index].assignment = nil
    }

    func heartbeat(_ index: Int) {
        let client = clients[index]
        switch it.heartbeat(client.id, instance: client.instance, generation: client.generation) {
        case nil: break
        case .rebalanceInProgress, .illegalGeneration: clients[index].generation = -1
        case .unknownMemberId, .fencedInstanceId: reset(index)
        default: Issue.record("a heartbeat got an answer that is none")
        }
    }

    /// One random thing happens.
    func step() {
        let index = Int.random(in: 0..<clients.count, using: &generator)
        read(index)
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<35: if clients[index].join == nil { join(index) }
        case 35..<55: if clients[index].generation >= 0 { sync(index) }
        case 55..<70: if clients[index].generation >= 0 { heartbeat(index) }
        case 70..<74: join(index)
        case 74..<78:
            it.leave(.init(memberId: clients[index].id, groupInstanceId: clients[index].instance))
            reset(index)
        case 78..<82:
            // It vanishes with whatever it has parked, and comes back as another process.
            clients[index].join = nil
            clients[index].sync = nil
            reset(index)
        case 82..<86:
            clients[index].protocols = [
                ["range": "0"], ["range": "1"], ["range": "0", "sticky": "0"],
            ].randomElement(using: &generator)!
        case 86..<96: it.pass(.random(in: 0...2_000, using: &generator))
        default: it.pass(.random(in: 0...30_000, using: &generator))
        }
    }

    /// A round of well-behaved clients.
    func behave() {
        for index in clients.indices {
            read(index)
            let client = clients[index]
            if client.join != nil || client.sync != nil { continue }
            if client.generation < 0 {
                join(index)
            } else if client.assignment == nil {
                sync(index)
            } else {
                heartbeat(index)
            }
        }
        it.pass(500)
    }

    // MARK: What must hold

    func check() {
        let group = it.group
        let members = group.members
        #expect(members.allSatisfy { $0.key == $0.value.id })
        #expect(group.parkedJoins == members.values.count { $0.joinToken != nil })
        #expect((group.leaderId == nil) == members.isEmpty)
        #expect(group.leaderId.map { members[$0] != nil } ?? true)
        #expect(group.pendingSyncMembers.allSatisfy { members[$0] != nil })
        #expect(group.staticMembers.allSatisfy { members[$0.value]?.groupInstanceId == $0.key })
        #expect(members.values.count { $0.isStatic } == group.staticMembers.count)
        var supported: [String: Int] = [:]
        for member in members.values { group.count(member.protocols, by: 1, in: &supported) }
        #expect(group.supportedProtocols == supported)
        let bytes = members.values.reduce(0) { $0 + $1.retainedBytes }
        #expect(group.retainedBytes == bytes + group.pendingMembers.keys.reduce(0) { $0 + 96 + $1.utf8.count })
        let deadlines =
            members.values.compactMap(\.deadlineMs) + group.pendingMembers.values
            + [group.joinTimer?.deadlineMs, group.syncDeadlineMs].compactMap { $0 }
        #expect(deadlines.allSatisfy { $0 >= group.nextDeadlineMs })
        switch group.state {
        case .empty: #expect(members.isEmpty && group.joinTimer == nil && group.syncDeadlineMs == nil)
        case .preparingRebalance:
            #expect(group.joinTimer != nil && members.values.allSatisfy { $0.syncToken == nil })
        case .completingRebalance: #expect(members.values.allSatisfy { $0.joinToken == nil })
        case .stable: #expect(members.values.allSatisfy { $0.joinToken == nil && $0.syncToken == nil })
        case .dead: Issue.record("nobody closed this group")
        }
    }
}

@Suite struct ClassicGroupRandomTests {
    @Test(arguments: 0..<150) func `Whatever clients do, the group stays consistent and answers everybody once`(
        seed: Int
    ) {
        let clients = RandomClients(seed: UInt64(seed), membersMax: seed % 3 == 0 ? 3 : 100)
        for _ in 0..<400 {
            clients.step()
            clients.check()
        }
        // A generation becomes stable once.
        let stable = clients.it.events.compactMap { event -> Int32? in
            if case .stabilized(let generation, _) = event { generation } else { nil }
        }
        #expect(stable == stable.sorted() && Set(stable).count == stable.count)
        // Everybody is gone: nothing stays parked, the group empties by itself.
        clients.it.pass(3_600_000)
        clients.check()
        #expect(clients.it.group.state == .empty)
        #expect(clients.joinTokens.allSatisfy { clients.it.joins[$0] != nil })
        #expect(clients.syncTokens.allSatisfy { clients.it.syncs[$0] != nil })
    }

    @Test(arguments: 1_000..<1_100) func `After any disturbance, clients that behave get to a stable generation`(
        seed: Int
    ) {
        let clients = RandomClients(seed: UInt64(seed), membersMax: 100)
        for _ in 0..<100 { clients.step() }
        var rounds = 0
        while rounds < 400 {
            clients.behave()
            clients.check()
            rounds += 1
            if clients.it.group.state == .stable && clients.it.group.memberCount == clients.clients.count
                && clients.clients.allSatisfy({
                    $0.assignment != nil && $0.generation == clients.it.group.generationId
                })
            {
                break
            }
        }
        #expect(clients.it.group.state == .stable)
        #expect(rounds < 400, "the group was still busy after 200 seconds")
    }
}
