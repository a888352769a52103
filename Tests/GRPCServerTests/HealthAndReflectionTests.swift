// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: grpc.health.v1 and server reflection.

import Contract
import GRPCWire
import HTTP2
import NIOCore
import NIOEmbedded
import SwiftProtobuf
import Testing
import Transport

@testable import GRPCServer

@Suite struct HealthServiceTests {
    private let fixture: Fixture
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        peer = try fixture.connect()
    }

    private func check(_ service: String) throws -> Call {
        try peer.call(
            "/grpc.health.v1.Health/Check", Grpc_Health_V1_HealthCheckRequest.with { $0.service = service })
    }

    private func watch(_ service: String) throws -> Call {
        try peer.call(
            "/grpc.health.v1.Health/Watch", Grpc_Health_V1_HealthCheckRequest.with { $0.service = service })
    }

    private func states(_ call: Call) throws -> [Grpc_Health_V1_HealthCheckResponse.ServingStatus] {
        try call.decoded(Grpc_Health_V1_HealthCheckResponse.self).map(\.status)
    }

    @Test(arguments: ["", "martlet.v1.Streams", "martlet.v1.Admin", "martlet.v1.Work"])
    func `The broker and its services serve, and say how durable an ack is`(service: String) throws {
        let call = try check(service)
        #expect(try states(call) == [.serving])
        #expect(call.durability == "memory")
        fixture.server.health.set(isServing: false)
        #expect(try states(check(service)) == [.notServing])
    }

    @Test func `An unknown service is not found, but can be watched`() throws {
        #expect(try check("no.such.Service").status == .notFound)
        let call = try watch("no.such.Service")
        #expect(try states(call) == [.serviceUnknown] && call.status == nil)
    }

    @Test func `All states can be listed`() throws {
        let call = try peer.call("/grpc.health.v1.Health/List", Grpc_Health_V1_HealthListRequest())
        let statuses = try #require(try call.decoded(Grpc_Health_V1_HealthListResponse.self).first).statuses
        #expect(Set(statuses.keys) == ["", "martlet.v1.Streams", "martlet.v1.Admin", "martlet.v1.Work"])
        #expect(statuses.values.allSatisfy { $0.status == .serving })
    }

    @Test func `A watch tells the state now and every change, until it is cancelled`() throws {
        let call = try watch("")
        #expect(try states(call) == [.serving])
        fixture.server.health.set(isServing: false)
        fixture.server.health.set(isServing: false)
        try peer.run()
        fixture.server.health.set(isServing: true)
        try peer.run()
        #expect(try states(call) == [.serving, .notServing, .serving])
        call.cancel()
        try peer.run()
        fixture.server.health.set(isServing: false)
        try peer.run()
        #expect(try states(call).count == 3)
    }

    @Test func `Draining ends a watch`() throws {
        let call = try watch("")
        peer.channel.pipeline.fireUserInboundEventTriggered(DrainEvent(deadline: .now() + .seconds(1)))
        try peer.run()
        #expect(call.status == .unavailable)
    }
}

private typealias Question = Grpc_Reflection_V1_ServerReflectionRequest
private typealias Answer = Grpc_Reflection_V1_ServerReflectionResponse

@Suite struct ReflectionServiceTests {
    private let peer: Peer

    init() throws {
        peer = try Fixture().connect()
    }

    private func ask(_ questions: [Question], version: String = "v1") throws -> [Answer] {
        let call = try peer.open("/grpc.reflection.\(version).ServerReflection/ServerReflectionInfo")
        for question in questions {
            let bytes: [UInt8] = try question.serializedBytes()
            var framed = ByteBuffer()
            framed.writeMessage { $0.writeBytes(bytes) }
            call.send(framed, end: false)
            try peer.run()
        }
        call.stream?.finish()
        try peer.run()
        #expect(call.status == .ok)
        return try call.decoded(Answer.self)
    }

    private func files(_ answer: Answer) throws -> [Google_Protobuf_FileDescriptorProto] {
        try answer.fileDescriptorResponse.fileDescriptorProto.map {
            try Google_Protobuf_FileDescriptorProto(serializedBytes: Array($0))
        }
    }

    @Test(arguments: ["v1", "v1alpha"])
    func `Every service is listed, the reflections included`(version: String) throws {
        let answers = try ask([.with { $0.listServices = "" }], version: version)
        #expect(
            answers.flatMap { $0.listServicesResponse.service }.map(\.name) == [
                "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
                "martlet.v1.Admin", "martlet.v1.Streams", "martlet.v1.Work",
            ])
    }

    @Test func `Every listed service and method is described, and every described method is served`() throws {
        let fixture = try Fixture()
        var served = 0
        for name in try ask([.with { $0.listServices = "" }]).flatMap({ $0.listServicesResponse.service }).map(\.name) {
            let file = try #require(try files(ask([.with { $0.fileContainingSymbol = name }])[0]).first)
            let service = try #require(file.service.first { "\(file.package).\($0.name)" == name })
            for method in service.method {
                #expect(fixture.server.router.route(ByteBuffer(string: "/\(name)/\(method.name)")) != nil)
                served += 1
            }
        }
        #expect(served == 5 + 4 + 3 + 3 + 2)
    }

    @Test(arguments: [
        "martlet.v1.Streams", "martlet.v1.Streams.Publish", "martlet.v1.PublishRequest", "martlet.v1.PublishRequest.topic",
        "martlet.v1.Origin", "martlet.v1.ORIGIN_EARLIEST", "martlet.v1.SubscribeRequest.start",
    ])
    func `Symbols of every kind lead to their file`(symbol: String) throws {
        let answer = try ask([.with { $0.fileContainingSymbol = symbol }])[0]
        #expect(try files(answer).map(\.name) == ["martlet/v1/streams.proto"])
        #expect(answer.originalRequest.fileContainingSymbol == symbol)
    }

    @Test func `Nested names and files by name`() throws {
        let answers = try ask([
            .with { $0.fileContainingSymbol = "grpc.health.v1.HealthCheckResponse.ServingStatus" },
            .with { $0.fileContainingSymbol = "grpc.health.v1.HealthCheckResponse.SERVING" },
            .with { $0.fileByFilename = "grpc/health/v1/health.proto" },
        ])
        for answer in answers { #expect(try files(answer).map(\.name) == ["grpc/health/v1/health.proto"]) }
    }

    @Test func `What is not there is an error in the answer, and the call goes on`() throws {
        let answers = try ask([
            .with { $0.fileContainingSymbol = "martlet.v1.Nothing" },
            .with { $0.fileByFilename = "nothing.proto" },
            .with { $0.fileContainingExtension = .with { $0.containingType = "martlet.v1.Topic"; $0.extensionNumber = 5 } },
            .with { $0.allExtensionNumbersOfType = "martlet.v1.Nothing" },
            Question(),
            .with { $0.allExtensionNumbersOfType = "martlet.v1.Topic" },
        ])
        #expect(answers.prefix(5).map(\.errorResponse.errorCode) == [5, 5, 5, 5, 3])
        #expect(answers.last?.allExtensionNumbersResponse.baseTypeName == "martlet.v1.Topic")
    }

    @Test func `A client that asks without reading is not read either, and gets all its answers later`() throws {
        var small = HTTP2Configuration()
        small.streamWindowBytes = 65535
        let fixture = try Fixture()
        let peer = try fixture.connect(small)
        let call = try peer.open("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        call.stream?.isInboundHeld = true
        let question = Question.with { $0.fileByFilename = "martlet/v1/streams.proto" }
        let bytes: [UInt8] = try question.serializedBytes()
        var framed = ByteBuffer()
        framed.writeMessage { $0.writeBytes(bytes) }
        let count = 500
        for _ in 0..<count { call.stream?.outbound.writeImmutableBuffer(framed) }
        call.stream?.finish()
        try peer.run()
        let first = call.messages.count
        #expect(first > 0 && first < 60)
        call.stream?.isInboundHeld = false
        try peer.run()
        #expect(call.messages.count == count && call.status == .ok)
    }
}
