// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: connections that nobody uses, or that do not log in, do not last.

import Bytes
import KafkaWire
import NIOCore
import NIOEmbedded
import Security
import TestSupport
import Testing
import Transport

@testable import Engine
@testable import KafkaServer

@Suite struct IdlenessTests {
    private let test: TestEngine

    init() throws {
        test = try TestEngine()
    }

    private func pass(seconds: Int64) {
        test.clock.advance(ms: seconds * 1000)
        test.loop.advanceTime(by: .seconds(seconds))
        test.sync()
    }

    @Test func anIdleConnectionIsClosedAsKafkaDoes() throws {
        let connection = try TestConnection(test)
        #expect(connection.server.maxIdleMs == 600_000)
        pass(seconds: 599)
        #expect(connection.isOpen)
        pass(seconds: 1)
        #expect(!connection.isOpen)
    }

    @Test func oneThatIsUsedLives() throws {
        let connection = try TestConnection(test)
        for _ in 0..<5 {
            pass(seconds: 400)
            _ = try connection.call(ApiVersionsRequest.named, version: 3)
        }
        #expect(connection.isOpen)
        pass(seconds: 599)
        #expect(connection.isOpen)
        pass(seconds: 2)
        #expect(!connection.isOpen)
    }

    @Test func oneWhoseRequestWaitsIsUsed() throws {
        _ = try test.makeTopic()
        let connection = try TestConnection(test)
        var partition = FetchRequest.Partition()
        partition.partitionMaxBytes = 1000
        var wanted = FetchRequest.Topic()
        wanted.topic = "orders"
        wanted.partitions = [partition]
        var request = FetchRequest()
        (request.maxBytes, request.minBytes, request.maxWaitMs, request.topics) = (1000, 1, 900_000, [wanted])
        try connection.send(request, version: 11)
        pass(seconds: 899)
        #expect(try connection.isOpen && connection.frame() == nil)
        pass(seconds: 2)
        #expect(try connection.isOpen && connection.frame() != nil)
    }

    @Test func whoDoesNotLogInInTimeIsClosedHoweverBusy() throws {
        let connection = try TestConnection(test, logins: ByListener(LoginConfiguration(mechanisms: [.plain])))
        for _ in 0..<5 {
            pass(seconds: 10)
            _ = try connection.call(ApiVersionsRequest.named, version: 3)
        }
        #expect(connection.isOpen)
        pass(seconds: 10)
        #expect(!connection.isOpen)
    }
}
