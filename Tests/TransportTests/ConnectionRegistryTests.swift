// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: counting, admitting and draining connections.

import NIOCore
import NIOEmbedded
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
