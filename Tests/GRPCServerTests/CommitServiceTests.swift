// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: Streams.Commit and Streams.Committed over an engine.

import Contract
import Engine
import GRPCWire
import SwiftProtobuf
import Testing

@testable import GRPCServer

@Suite struct CommitServiceTests {
    private let fixture: Fixture
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        _ = try fixture.topic("orders", partitions: 3)
        _ = try fixture.topic("bills")
        peer = try fixture.connect()
    }

    private func commit(_ group: String, _ offsets: [(String, Int32, Int64, String)]) throws -> Call {
        try peer.call(
            "/martlet.v1.Streams/Commit",
            Martlet_V1_CommitRequest.with {
                $0.group = group
                $0.offsets = offsets.map { entry in
                    .with {
                        ($0.topic, $0.partition, $0.offset, $0.metadata) = entry
                    }
                }
            })
    }

    private func committed(_ group: String, topics: [String] = []) throws -> [String] {
        let call = try peer.call(
            "/martlet.v1.Streams/Committed",
            Martlet_V1_CommittedRequest.with {
                $0.group = group
                $0.topics = topics
            })
        #expect(call.status == .ok)
        return try call.decoded(Martlet_V1_CommittedResponse.self).flatMap(\.offsets).map {
            "\($0.topic)-\($0.partition)@\($0.offset) \($0.metadata)"
        }
    }

    @Test func `Commits are answered in order, by topic and partition`() throws {
        let call = try commit("g", [("orders", 2, 20, "m"), ("bills", 0, 7, ""), ("orders", 0, 0, "start")])
        #expect(call.status == .ok)
        #expect(try committed("g") == ["bills-0@7 ", "orders-0@0 start", "orders-2@20 m"])
        #expect(try committed("g", topics: ["bills"]) == ["bills-0@7 "])
        #expect(try committed("g", topics: ["other"]).isEmpty)
        #expect(try committed("nobody").isEmpty)
    }

    @Test func `A later commit replaces an earlier one`() throws {
        _ = try commit("g", [("bills", 0, 7, "a")])
        _ = try commit("g", [("bills", 0, 5, "b")])
        #expect(try committed("g") == ["bills-0@5 b"])
    }

    @Test(arguments: [
        ("", [("bills", 0, 1, "")], GRPCStatus.Code.invalidArgument, "group"),
        ("g", [], .invalidArgument, "offsets"),
        ("g", [("bills", 0, -1, "")], .invalidArgument, "negative"),
        ("g", [("bills", 0, 1, String(repeating: "m", count: 4097))], .invalidArgument, "metadata"),
        ("g", [("", 0, 1, "")], .invalidArgument, "topic"),
        ("g", [("missing", 0, 1, "")], .notFound, "missing"),
        ("g", [("bills", 1, 1, "")], .notFound, "partition 1"),
    ] as [(String, [(String, Int32, Int64, String)], GRPCStatus.Code, String)])
    func `A wrong commit is named and stores nothing`(
        group: String, offsets: [(String, Int32, Int64, String)], code: GRPCStatus.Code, word: String
    ) throws {
        let call = try commit(group, [("orders", 0, 1, "")].filter { _ in !offsets.isEmpty } + offsets)
        #expect(call.status == code && call.message.contains(word), "\(call.message)")
        #expect(try committed("g").isEmpty)
    }

    @Test func `Too many offsets and no group are invalid arguments`() throws {
        let call = try commit("g", (0...10_000).map { ("bills", 0, Int64($0), "") })
        #expect(call.status == .invalidArgument && call.message.contains("10000"))
        let nobody = try peer.call("/martlet.v1.Streams/Committed", Martlet_V1_CommittedRequest())
        #expect(nobody.status == .invalidArgument)
    }
}
