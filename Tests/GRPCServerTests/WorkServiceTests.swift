// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: what becomes of a worker when what it works on goes away.

import Contract
import Engine
import GRPCWire
import NIOCore
import SwiftProtobuf
import Testing

@testable import GRPCServer

@Suite struct WorkServiceTests {
    private func work(_ peer: Peer, _ topics: [String]) throws -> Call {
        let call = try peer.open("/martlet.v1.Work/Receive")
        let request = Martlet_V1_ReceiveRequest.with {
            $0.open.group = "workers"
            $0.open.topics = topics
        }
        call.send(.frame(ByteBuffer(bytes: try request.serializedBytes() as [UInt8])), end: false)
        try peer.run()
        return call
    }

    /// It was woken by the topic that was gone, and again, so that nothing else on its loop was served.
    @Test(.timeLimit(.minutes(1))) func `A worker whose topic is deleted is told so, and holds nobody up`() throws {
        let fixture = try Fixture()
        for name in ["jobs", "others"] { _ = try fixture.topic(name) }
        let peer = try fixture.connect()
        let (one, both, other) = (try work(peer, ["jobs"]), try work(peer, ["others", "jobs"]), try work(peer, ["others"]))
        #expect(one.status == nil && both.status == nil && other.status == nil)
        let deleted = try peer.call("/martlet.v1.Admin/DeleteTopic", Martlet_V1_DeleteTopicRequest.with { $0.name = "jobs" })
        #expect(deleted.status == .ok)
        for call in [one, both] { #expect(call.status == .notFound && call.message.hasPrefix("topic jobs was deleted")) }
        #expect(other.status == nil)
        #expect(try peer.publish("others", ["x"]).status == .ok)
        #expect(try other.decoded(Martlet_V1_ReceiveResponse.self).contains { !$0.items.items.isEmpty })
    }
}
