// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: drives one `ClassicGroup` with a manual clock and collects what it answers.

import NIOCore
import Testing

@testable import Engine

/// One group and its clients. Fails the test when a token is answered twice or never was parked.
final class GroupFixture {
    var group: ClassicGroup
    var nowMs: Int64 = 0
    private(set) var joins: [GroupToken: GroupJoinResponse] = [:]
    private(set) var syncs: [GroupToken: GroupSyncResponse] = [:]
    private(set) var events: [GroupEvent] = []
    private var tokens: UInt64 = 0

    init(_ change: (inout GroupConfiguration) -> Void = { _ in }) {
        var configuration = GroupConfiguration()
        configuration.initialRebalanceDelayMs = 0
        change(&configuration)
        group = ClassicGroup(id: "g", configuration: configuration)
    }

    func execute(_ actions: [GroupAction]) {
        for action in actions {
            switch action {
            case .answerJoin(let token, let response):
                #expect(joins.updateValue(response, forKey: token) == nil, "a join was answered twice")
            case .answerSync(let token, let response):
                #expect(syncs.updateValue(response, forKey: token) == nil, "a sync was answered twice")
            case .report(let event): events.append(event)
            }
        }
    }

    func joinAnswer(_ token: GroupToken) -> GroupJoinResponse? { joins[token] }

    func syncAnswer(_ token: GroupToken) -> GroupSyncResponse? { syncs[token] }

    private func makeToken() -> GroupToken {
        tokens += 1
        return GroupToken(tokens)
    }

    /// `version` is that of JoinGroup: it decides how new members and static leaders are treated.
    @discardableResult
    func join(
        _ memberId: String = "", version: Int = 9, instance: String? = nil, type: String = "consumer",
        protocols: [String: String] = ["range": ""], order: [String]? = nil, sessionMs: Int32 = 10_000,
        rebalanceMs: Int32 = 60_000
    ) -> GroupToken {
        let token = makeToken()
        let names = order ?? protocols.keys.sorted()
        let request = GroupJoinRequest(
            groupId: "g", memberId: memberId, groupInstanceId: instance, clientId: "c", clientHost: "/127.0.0.1",
            sessionTimeoutMs: sessionMs, rebalanceTimeoutMs: rebalanceMs, protocolType: type,
            protocols: names.map {
                GroupProtocol(name: $0, metadata: ByteBuffer(string: protocols[$0] ?? ""))
            },
            requiresKnownMemberId: version >= 4, supportsSkippingAssignment: version >= 9)
        execute(group.join(request, newMemberId: "m\(token.value)", token: token, nowMs: nowMs))
        return token
    }

    @discardableResult
    func sync(
        _ memberId: String, instance: String? = nil, generation: Int32? = nil, type: String? = "consumer",
        name: String? = nil, assignments: [String: String] = [:]
    ) -> GroupToken {
        let token = makeToken()
        let request = GroupSyncRequest(
            groupId: "g", memberId: memberId, groupInstanceId: instance,
            generationId: generation ?? group.generationId, protocolType: type, protocolName: name,
            assignments: assignments.sorted { $0.key < $1.key }.map {
                .init(memberId: $0.key, assignment: ByteBuffer(string: $0.value))
            })
        execute(group.sync(request, token: token, nowMs: nowMs))
        return token
    }

    func heartbeat(_ memberId: String, instance: String? = nil, generation: Int32? = nil) -> GroupError? {
        let member = GroupMemberIdentity(memberId: memberId, groupInstanceId: instance)
        do throws(GroupError) {
            try group.heartbeat(member, generationId: generation ?? group.generationId, nowMs: nowMs)
            return nil
        } catch {
            return error
        }
    }

    @discardableResult
    func leave(_ members: GroupMemberIdentity...) -> [GroupError?] {
        let (results, actions) = group.leave(members, nowMs: nowMs)
        execute(actions)
        return results
    }

    func commit(_ memberId: String, instance: String? = nil, generation: Int32) -> GroupError? {
        let member = GroupMemberIdentity(memberId: memberId, groupInstanceId: instance)
        do throws(GroupError) {
            try group.validateCommit(member, generationId: generation, nowMs: nowMs)
            return nil
        } catch {
            return error
        }
    }

    /// Lets time pass, stopping wherever the group wants to be woken.
    func pass(_ ms: Int64) {
        let endMs = nowMs + ms
        while group.nextDeadlineMs <= endMs {
            nowMs = max(nowMs, group.nextDeadlineMs)
            execute(group.advance(nowMs: nowMs))
        }
        nowMs = endMs
    }

    /// Everything but the first join of each: a new dynamic member's id, as a v9 client gets it.
    func newMemberId(protocols: [String: String] = ["range": ""]) -> String {
        joins[join(protocols: protocols)]?.memberId ?? ""
    }

    /// A stable group of `count` dynamic members, the first one the leader; member `i` has assignment "a<i>".
    func stabilize(_ count: Int) -> [String] {
        let ids = (0..<count).map { _ in newMemberId() }
        for id in ids { join(id) }
        pass(0)
        settle(ids)
        return ids
    }

    /// Everybody syncs, followers first.
    func settle(_ ids: [String]) {
        for id in ids.dropFirst() { sync(id) }
        let assignments = ids.enumerated().map { ($0.element, "a\($0.offset)") }
        sync(ids[0], assignments: Dictionary(uniqueKeysWithValues: assignments))
    }
}

extension ByteBuffer {
    var text: String { String(buffer: self) }
}
