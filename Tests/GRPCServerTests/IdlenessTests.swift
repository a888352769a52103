// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: when a connection counts as idle, and how it is ended.

import GRPCWire
import HTTP2
import NIOCore
import NIOEmbedded
import Testing

@testable import GRPCServer

@Suite struct IdlenessTests {
    private let fixture: Fixture
    private let peer: Peer

    init() throws {
        fixture = try Fixture(maxIdleMs: 10_000)
        _ = try fixture.topic("jobs")
        peer = try fixture.connect()
    }

    private func pass(_ seconds: Int64) throws {
        fixture.loop.advanceTime(by: .seconds(seconds))
        try peer.run()
    }

    @Test func `A connection without calls is told to go, and closed`() throws {
        try pass(9)
        #expect(peer.goAways == 0 && peer.channel.isActive)
        try pass(1)
        #expect(peer.goAways > 0 && !peer.channel.isActive)
    }

    @Test func `A call begins the time anew when it ends, and pings do not`() throws {
        for _ in 0..<5 {
            try pass(8)
            #expect(try peer.publish("jobs", ["x"]).status == .ok)
        }
        #expect(peer.goAways == 0)
        for _ in 0..<9 {
            try pass(1)
            peer.session.ping()
            try peer.run()
        }
        #expect(peer.goAways == 0)
        try pass(1)
        #expect(peer.goAways > 0 && !peer.channel.isActive)
    }

    @Test func `A stream that is open is use, however quiet`() throws {
        let call = try peer.subscribe("jobs")
        for _ in 0..<10 { try pass(9) }
        #expect(peer.goAways == 0 && !call.isClosed)
        call.cancel()
        try peer.run()
        try pass(9)
        #expect(peer.goAways == 0)
        try pass(1)
        #expect(!peer.channel.isActive)
    }

    @Test func `A client that answers nothing is closed as well`() throws {
        let silent = try fixture.connect()
        fixture.loop.advanceTime(by: .seconds(10))
        // GOAWAY and PING wait for an answer, a second at most.
        #expect(silent.channel.isActive)
        fixture.loop.advanceTime(by: .seconds(2))
        #expect(!silent.channel.isActive)
    }
}
