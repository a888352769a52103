// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: counting, admitting and draining connections.

import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import Transport

@Suite("The connection registry")
struct ConnectionRegistryTests {
    private func registry(max: Int, refused: Int) -> ConnectionRegistry {
        var limits = TransportLimits()
        limits.connectionsMax = max
        limits.connectionsRefusedAtOnceMax = refused
        return ConnectionRegistry(limits: limits)
    }

    @Test(
        "admits up to the limit, refuses some more, drops the rest, and admits again later"
    )
    func admission() {
        let registry = registry(max: 2, refused: 1)
        let channels = (0..<4).map { _ in EmbeddedChannel() }
        let admissions = channels.map { registry.enter($0).admission }
        #expect(admissions == [.admitted, .admitted, .refused, .dropped])
        #expect(registry.count == 3)
        close(channels[0])
        #expect(registry.count == 2)
        #expect(registry.enter(EmbeddedChannel()).admission == .refused)
        close(channels[1])
        close(channels[2])
        #expect(registry.enter(EmbeddedChannel()).admission == .admitted)
    }

    private func close(_ channel: EmbeddedChannel) {
        channel.close(promise: nil)
        channel.embeddedEventLoop.run()
    }

    @Test("ends the connections whose certificate is revoked, and no others, a few at a time")
    func revocation() {
        let registry = registry(max: 1_000, refused: 0)
        let loop = EmbeddedEventLoop()
        let count = ConnectionRegistry.endedAtOnceMax + 10
        let channels = (0..<count).map { _ in EmbeddedChannel(loop: loop) }
        for (index, channel) in channels.enumerated() {
            var connection = ConnectionContext(
                id: registry.enter(channel).id, localHost: "", localPort: 1, remoteAddress: "127.0.0.1", remotePort: 2)
            // One without a certificate, one with a good one.
            if index == 0 { continue }
            connection.peerCertificate = PeerCertificate(
                subject: "CN=x", issuer: "CN=ca", notBeforeMs: 0, notAfterMs: .max, serial: index == 1 ? "01" : "02")
            registry.note(connection)
        }
        let ended = LockedCount()
        registry.end(on: loop, where: { $0.serial == "02" }, ended: { _ in ended.add() })
        #expect((1...ConnectionRegistry.endedAtOnceMax).contains(ended.value), "the rest waits for the loop's next turn")
        loop.run()
        #expect(ended.value == count - 2)
        #expect(registry.count == 2)
        registry.end(on: loop, where: { _ in true }, ended: { _ in ended.add() })
        loop.run()
        #expect(registry.count == 1 && ended.value == count - 1)
    }

    @Test("gives every connection an id of its own, across listeners")
    func ids() {
        let first = registry(max: 10, refused: 0)
        let second = registry(max: 10, refused: 0)
        let ids = (0..<6).map { ($0 % 2 == 0 ? first : second).enter(EmbeddedChannel()).id }
        #expect(Set(ids).count == 6)
        #expect(ids == ids.sorted())
    }

    @Test(
        "tells every connection to drain, admits nobody any more, and knows when the last is gone")
    func drain() {
        let registry = registry(max: 10, refused: 0)
        let recorder = Recorder()
        let channel = EmbeddedChannel(handler: recorder)
        _ = registry.enter(channel)
        registry.drain(deadline: .now())
        #expect(recorder.events == ["DrainEvent"])
        #expect(registry.enter(EmbeddedChannel()).admission == .dropped)
        var isEmpty = false
        registry.emptied(on: channel.embeddedEventLoop).assumeIsolated().whenSuccess {
            isEmpty = true
        }
        #expect(!isEmpty)
        registry.closeAll()
        channel.embeddedEventLoop.run()
        #expect(isEmpty)
        #expect(registry.count == 0)
    }
}

private final class LockedCount: Sendable {
    private let count = Mutex(0)

    var value: Int { count.withLock { $0 } }

    func add() { count.withLock { $0 += 1 } }
}
