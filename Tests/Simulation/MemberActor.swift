// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: a member of a consumer group: joins, syncs, keeps alive, commits, leaves.

import KafkaWire
import NIOCore

final class MemberActor: KafkaActor {
    unowned let life: Life
    let number: Int
    var link: KafkaLink?
    private var memberId = ""
    private var generation: Int32 = -1
    private var state = State.outside

    private enum State { case outside, joining, syncing, inside }

    init(_ life: Life, _ number: Int) {
        self.life = life
        self.number = number
    }

    private var group: String { Life.groups[0] }

    func connect(_ broker: SimulatedBroker) throws {
        link = try KafkaLink(broker) { [unowned self] in life.received($0) }
        leaveBehind()
    }

    private func leaveBehind() {
        state = .outside
        memberId = ""
        generation = -1
    }

    func step() throws {
        guard let link = try usableLink() else { return }
        switch state {
        case .outside: try join(link)
        case .joining, .syncing: break
        case .inside:
            switch life.pick(0...9) {
            case 0...3: try heartbeat(link)
            case 4...8: try life.commit(group, through: link, memberId: memberId, generation: generation)
            default: try leave(link)
            }
        }
    }

    private func join(_ link: KafkaLink) throws {
        var request = JoinGroupRequest()
        request.groupId = group
        request.sessionTimeoutMs = 10_000
        request.rebalanceTimeoutMs = 10_000
        request.memberId = memberId
        request.protocolType = "consumer"
        var supported = JoinGroupRequest.SupportedProtocol()
        supported.name = "range"
        supported.metadata = ByteBuffer(string: "topics")
        request.protocols = [supported]
        state = .joining
        life.trace.note("member \(number) joins")
        try link.send(request, version: 7) { [unowned self] response in
            guard let response else { return leaveBehind() }
            switch response.errorCode {
            case .memberIdRequired:
                memberId = response.memberId
                state = .outside
            case .none:
                memberId = response.memberId
                generation = response.generationId
                do { try sync(response, link) } catch { life.violate("a client can send", "\(error)") }
            default: leaveBehind()
            }
        }
    }

    private func sync(_ joined: JoinGroupResponse, _ link: KafkaLink) throws {
        state = .syncing
        var request = SyncGroupRequest()
        request.groupId = group
        request.memberId = memberId
        request.generationId = generation
        request.protocolType = "consumer"
        request.protocolName = joined.protocolName
        if joined.leader == memberId {
            request.assignments = joined.members.map { member in
                var assignment = SyncGroupRequest.Assignment()
                assignment.memberId = member.memberId
                assignment.assignment = ByteBuffer(string: "all")
                return assignment
            }
        }
        try link.send(request, version: 5) { [unowned self] response in
            guard let response, response.errorCode == .none else { return leaveBehind() }
            state = .inside
        }
    }

    private func heartbeat(_ link: KafkaLink) throws {
        var request = HeartbeatRequest()
        request.groupId = group
        request.memberId = memberId
        request.generationId = generation
        try link.send(request, version: 4) { [unowned self] response in
            guard let response, response.errorCode != .none else { return }
            if response.errorCode == .rebalanceInProgress { state = .outside } else { leaveBehind() }
        }
    }

    private func leave(_ link: KafkaLink) throws {
        var request = LeaveGroupRequest()
        request.groupId = group
        var member = LeaveGroupRequest.Member()
        member.memberId = memberId
        request.members = [member]
        life.trace.note("member \(number) leaves")
        leaveBehind()
        try link.send(request, version: 4) { _ in }
    }
}
