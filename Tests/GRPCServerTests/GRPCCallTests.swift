// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: what every call can count on, whatever its method.

import Bytes
import Contract
import Engine
import FoundationEssentials
import GRPCWire
import HTTP2
import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import Records
import SwiftProtobuf
import Telemetry
import Testing
import Transport

@testable import GRPCServer

private let echo = GRPCMethod("test.Service", "Echo", .unary) { call, request in
    call.respond { $0.writeImmutableBuffer(request) }
}

/// A method that keeps its calls for the test to answer.
private final class Held: @unchecked Sendable {
    // Unchecked: everything runs on the test's embedded loop.
    var calls: [GRPCCall] = []
    var ended = 0

    func method(_ kind: GRPCMethod.Kind = .unary) -> GRPCMethod {
        GRPCMethod("test.Service", "Hold", kind) { call, _ in
            self.calls.append(call)
            call.whenEnded { self.ended += 1 }
            if kind == .serverStreaming { call.start(Silence()) }
        }
    }
}

/// A stream with nothing to say.
private final class Silence: GRPCStreamSource {
    func produce(room: Int, into buffer: inout ByteBuffer) -> GRPCProduction { .waiting }
    func ended() {}
}

private func framed(_ text: String, flag: UInt8 = 0) -> ByteBuffer {
    framed(ByteBuffer(string: text), flag: flag)
}

private func framed(_ bytes: ByteBuffer, flag: UInt8 = 0) -> ByteBuffer {
    var buffer = ByteBuffer()
    buffer.writeInteger(flag)
    buffer.writeInteger(UInt32(bytes.readableBytes))
    buffer.writeImmutableBuffer(bytes)
    return buffer
}

@Suite struct GRPCCallTests {
    @Test(arguments: [1, 3, 100, Int.max])
    func `A unary call is answered with headers, message and trailers, however its bytes are cut`(chunk: Int) throws {
        let peer = try Fixture(adding: [echo]).connect()
        peer.chunk = chunk
        let calls = try (0..<3).map { index in
            let call = try peer.open("/test.Service/Echo")
            call.send(framed("hello \(index)"), end: true)
            return call
        }
        try peer.run()
        for (index, call) in calls.enumerated() {
            #expect(call.messages == [ByteBuffer(string: "hello \(index)")])
            #expect(call.headers[.status] == "200" && call.headers[.contentType] == "application/grpc")
            #expect(call.headers[.grpcAcceptEncoding] == "identity,gzip")
            #expect(call.status == .ok && call.isClosed && call.resetCode == nil)
        }
    }

    @Test func `A request in many pieces, interleaved with others, is put together`() throws {
        let peer = try Fixture(adding: [echo]).connect()
        let calls = try (0..<5).map { _ in try peer.open("/test.Service/Echo") }
        let body = framed(String(repeating: "x", count: 1000))
        for start in stride(from: 0, to: body.readableBytes, by: 100) {
            for call in calls {
                let part = try #require(body.getSlice(at: start, length: min(100, body.readableBytes - start)))
                call.send(part, end: start + 100 >= body.readableBytes)
            }
            try peer.run()
        }
        for call in calls {
            #expect(call.messages.map(\.readableBytes) == [1000])
            #expect(call.status == .ok)
        }
    }

    @Test(arguments: ["/test.Service/Nothing", "/test.Service/EchoX", "/", "/martlet.v1.Streams/publish"])
    func `An unknown method is UNIMPLEMENTED, by trailers alone`(path: String) throws {
        let peer = try Fixture(adding: [echo]).connect()
        let call = try peer.open(path)
        try peer.run()
        #expect(call.status == .unimplemented && call.message.contains(path))
        #expect(call.trailers.isEmpty && call.headers[.status] == "200" && call.isClosed)
    }

    @Test(arguments: [
        ("application/grpc+json", "415"), ("text/plain", "415"), ("application/xml", "415"),
        ("application/grpc+proto", "200"), ("application/grpc;charset=utf-8", "200"),
    ])
    func `Only gRPC with protobuf is taken`(contentType: String, status: String) throws {
        let peer = try Fixture(adding: [echo]).connect()
        let call = try peer.open("/test.Service/Echo", contentType: contentType)
        call.send(framed("x"), end: true)
        try peer.run()
        #expect(call.headers[.status] == status)
        #expect((call.status == .ok) == (status == "200"))
        #expect(call.isClosed)
    }

    @Test func `A GET gets 405`() throws {
        let peer = try Fixture(adding: [echo]).connect()
        let call = try peer.open("/test.Service/Echo", method: "GET")
        try peer.run()
        #expect(call.headers[.status] == "405")
    }

    @Test func `Headers beyond the limit are RESOURCE_EXHAUSTED, and the connection lives`() throws {
        let peer = try Fixture(adding: [echo]).connect()
        let large = (0..<40).map { ("x-\($0)", String(repeating: "v", count: 500)) }
        let call = try peer.open("/test.Service/Echo", extra: large)
        try peer.run()
        #expect(call.status == .resourceExhausted)
        let next = try peer.open("/test.Service/Echo")
        next.send(framed("x"), end: true)
        try peer.run()
        #expect(next.status == .ok)
    }

    @Test func `No request, two requests and half a request are each named`() throws {
        let peer = try Fixture(adding: [echo]).connect()
        let bodies: [(ByteBuffer, GRPCStatus.Code, String)] = [
            (ByteBuffer(), .unimplemented, "none came"),
            (ByteBuffer(bytes: Array(framed("a").readableBytesView) + Array(framed("b").readableBytesView)), .unimplemented, "more came"),
            (ByteBuffer(bytes: [0, 0, 0, 0, 9, 1]), .internal, "in the middle"),
            (ByteBuffer(bytes: [7, 0, 0, 0, 0]), .internal, "flags 7"),
        ]
        for (body, code, word) in bodies {
            let call = try peer.open("/test.Service/Echo")
            call.send(body, end: true)
            try peer.run()
            #expect(call.status == code && call.message.contains(word), "\(call.message)")
        }
    }

    @Test func `A message beyond 4 MiB is refused before it is received, and the connection lives`() throws {
        let peer = try Fixture(adding: [echo]).connect()
        let call = try peer.open("/test.Service/Echo")
        call.send(ByteBuffer(bytes: [0, 0, 0x40, 0, 1]), end: false)
        try peer.run()
        #expect(call.status == .resourceExhausted && call.isClosed)
        let largest = try peer.open("/test.Service/Echo")
        largest.send(framed(ByteBuffer(repeating: 1, count: 4 << 20)), end: true)
        try peer.run()
        #expect(largest.status == .ok && largest.messages.first?.readableBytes == 4 << 20)
    }

    @Test func `gzip requests are understood; other encodings are refused with those that are not`() throws {
        let peer = try Fixture(adding: [echo]).connect()
        let text = String(repeating: "compress me ", count: 100)
        var packed = ByteBuffer()
        unsafe ByteBuffer(string: text).withUnsafeReadableBytes { unsafe Compressor().compress($0, .gzip, into: &packed) }
        let call = try peer.open("/test.Service/Echo", extra: [("grpc-encoding", "gzip")])
        call.send(framed(packed, flag: 1), end: true)
        let other = try peer.open("/test.Service/Echo", extra: [("grpc-encoding", "snappy")])
        other.send(framed(packed, flag: 1), end: true)
        let unnamed = try peer.open("/test.Service/Echo")
        unnamed.send(framed(packed, flag: 1), end: true)
        try peer.run()
        #expect(call.messages == [ByteBuffer(string: text)])
        #expect(other.status == .unimplemented && other.headers[.grpcAcceptEncoding] == "identity,gzip")
        #expect(unnamed.status == .internal)
    }

    @Test func `Answers come compressed where the call came so, if that makes them smaller`() throws {
        let peer = try Fixture(adding: [echo]).connect()
        var random = SystemRandomNumberGenerator()
        let noise = ByteBuffer(bytes: (0..<2000).map { _ in UInt8.random(in: 0...255, using: &random) })
        let asks = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity, deflate, gzip")]
        for (message, extra, expected) in [
            (ByteBuffer(repeating: 1, count: 1024), asks, true),
            (ByteBuffer(repeating: 1, count: 1023), asks, false), (noise, asks, false), (ByteBuffer(), asks, false),
            (ByteBuffer(repeating: 1, count: 4 << 20), asks, true), (ByteBuffer(repeating: 1, count: 5000), [asks[0]], false),
            (ByteBuffer(repeating: 1, count: 5000), [asks[1]], false),
            (ByteBuffer(repeating: 1, count: 5000), [asks[0], ("grpc-accept-encoding", "identity,gzipped")], false),
        ] {
            let call = try peer.open("/test.Service/Echo", extra: extra)
            call.send(framed(message), end: true)
            try peer.run()
            #expect(call.status == .ok && call.messages == [message])
            #expect(call.compressed == [expected])
            #expect((call.headers[.grpcEncoding] == "gzip") == (extra.count == 2 && extra[1].1.hasSuffix("gzip")))
        }
    }

    @Test func `The messages of a compressed stream are compressed each by itself`() throws {
        let fixture = try Fixture()
        let peer = try fixture.connect()
        let long = String(repeating: "x", count: 3000)
        for value in [long, "short", long] { #expect(try peer.publish("topic", [value]).status == .ok) }
        let call = try peer.call(
            "/martlet.v1.Streams/Subscribe",
            Martlet_V1_SubscribeRequest.with {
                $0.topics = [.with { $0.topic = "topic" }]
                $0.origin = .earliest
                $0.untilEnd = true
                $0.maxRecordsPerMessage = 1
            }, extra: [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")])
        #expect(call.status == .ok && call.compressed == [true, false, true])
        #expect(try call.values() == [long, "short", long])
    }

    @Test func `Every method of the contract minds its deadline before its request is there`() throws {
        let set = try Google_Protobuf_FileDescriptorSet(
            serializedBytes: Base64.decode(fileDescriptorSetBase64.description.utf8) ?? [])
        let paths = set.file.flatMap { file in
            file.service.flatMap { service in service.method.map { "/\(file.package).\(service.name)/\($0.name)" } }
        }
        #expect(paths.count >= 16)
        let fixture = try Fixture()
        let peer = try fixture.connect()
        let calls = try paths.map { try (path: $0, call: peer.open($0, timeout: "1S")) }
        try peer.run()
        fixture.loop.advanceTime(by: .milliseconds(900))
        try peer.run()
        for (path, call) in calls { #expect(call.status == nil && !call.isClosed, "\(path) \(call.message)") }
        fixture.loop.advanceTime(by: .milliseconds(100))
        try peer.run()
        for (path, call) in calls { #expect(call.status == .deadlineExceeded && call.isClosed, "\(path)") }
    }

    @Test func `Every stream of the contract minds its deadline while it lasts`() throws {
        let fixture = try Fixture()
        _ = try fixture.topic("topic")
        let peer = try fixture.connect()
        func open(_ path: String, _ request: some SwiftProtobuf.Message, end: Bool) throws -> Call {
            let call = try peer.open(path, timeout: "1S")
            let bytes: [UInt8] = try request.serializedBytes()
            call.send(framed(ByteBuffer(bytes: bytes)), end: end)
            return call
        }
        let topics: [Martlet_V1_TopicSelection] = [.with { $0.topic = "topic" }]
        let calls = [
            try open("/martlet.v1.Streams/Subscribe", Martlet_V1_SubscribeRequest.with { $0.topics = topics }, end: true),
            try open(
                "/martlet.v1.Streams/Subscribe",
                Martlet_V1_SubscribeRequest.with {
                    $0.topics = topics
                    $0.member.group = "group"
                }, end: true),
            try open(
                "/martlet.v1.Streams/PublishStream",
                Martlet_V1_PublishStreamRequest.with {
                    $0.topic = "topic"
                    $0.records = [.with { $0.value = .init("x".utf8) }]
                }, end: false),
            try open(
                "/martlet.v1.Work/Receive",
                Martlet_V1_ReceiveRequest.with {
                    $0.open.group = "workers"
                    $0.open.topics = ["topic"]
                }, end: false),
            try open("/grpc.health.v1.Health/Watch", Grpc_Health_V1_HealthCheckRequest(), end: true),
            try open(
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                Grpc_Reflection_V1_ServerReflectionRequest.with { $0.listServices = "" }, end: false),
        ]
        try peer.run()
        for (index, call) in calls.enumerated() { #expect(call.status == nil, "\(index): \(call.message)") }
        fixture.loop.advanceTime(by: .seconds(1))
        try peer.run()
        for (index, call) in calls.enumerated() { #expect(call.status == .deadlineExceeded && call.isClosed, "\(index)") }
        #expect(try fixture.engine.groups.describeConsumerGroups(["group"]).first??.members.isEmpty != false)
    }

    @Test func `Unfinished requests of a connection together are bounded`() throws {
        let peer = try Fixture(adding: [echo]).connect()
        var part = framed(ByteBuffer(repeating: 1, count: 4 << 20))
        part.moveWriterIndex(to: part.writerIndex - 1)
        let calls = try (0..<18).map { _ in
            let call = try peer.open("/test.Service/Echo")
            call.send(part, end: false)
            try peer.run()
            return call
        }
        // With its prefix each holds a little more than 4 MiB: 15 of them stay below 64 MiB.
        #expect(calls.prefix(15).allSatisfy { $0.status == nil })
        #expect(calls.suffix(3).allSatisfy { $0.status == .resourceExhausted })
        calls[0].cancel()
        calls[1].send(ByteBuffer(bytes: [1]), end: true)
        try peer.run()
        #expect(calls[1].status == .ok)
    }

    @Test func `Unfinished requests of all connections together are bounded, and give back what they held`() throws {
        let memory = RequestMemory(limit: 1_250_000)
        let fixture = try Fixture(memory: memory, adding: [echo])
        var part = framed(ByteBuffer(repeating: 1, count: 600_000))
        part.moveWriterIndex(to: part.writerIndex - 1)
        let peers = try (0..<3).map { _ in try fixture.connect() }
        let calls = try peers.map { peer in
            let call = try peer.open("/test.Service/Echo")
            call.send(part, end: false)
            try peer.run()
            return call
        }
        #expect(calls.map(\.status) == [nil, nil, .resourceExhausted])
        #expect(memory.used > 1 << 20)
        calls[0].send(ByteBuffer(bytes: [1]), end: true)
        try peers[0].run()
        #expect(calls[0].status == .ok)
        calls[1].cancel()
        try peers[1].run()
        #expect(memory.used == 0)
        // One that is whole and waits for the end of its requests is held as well, though it came in one frame.
        let whole = framed(ByteBuffer(repeating: 1, count: 12_000))
        memory.adjust(by: 1_250_000 - 30_000)
        let waiting = try (0..<4).map { _ in
            let call = try peers[0].open("/test.Service/Echo")
            call.send(whole, end: false)
            try peers[0].run()
            return call
        }
        #expect(waiting.map(\.status) == [nil, nil, nil, .resourceExhausted])
        waiting[0].send(ByteBuffer(), end: true)
        waiting[1].cancel()
        waiting[2].send(ByteBuffer(), end: true)
        try peers[0].run()
        #expect(waiting[0].status == .ok && waiting[2].status == .ok)
        memory.adjust(by: 30_000 - 1_250_000)
        #expect(memory.used == 0)
        // A message that comes in one piece of a few bytes is nobody's burden.
        memory.adjust(by: 2 << 20)
        let small = try peers[0].open("/test.Service/Echo")
        small.send(framed("x"), end: true)
        try peers[0].run()
        #expect(small.status == .ok)
    }
}

@Suite struct GRPCCallEndTests {
    @Test func `A deadline ends a call that is not answered, once`() throws {
        let held = Held()
        let fixture = try Fixture(adding: [held.method()])
        let peer = try fixture.connect()
        let call = try peer.open("/test.Service/Hold", timeout: "200m")
        call.send(framed("x"), end: true)
        let patient = try peer.open("/test.Service/Hold", timeout: "10S")
        patient.send(framed("x"), end: true)
        try peer.run()
        fixture.loop.advanceTime(by: .milliseconds(199))
        try peer.run()
        #expect(call.status == nil && held.ended == 0)
        fixture.loop.advanceTime(by: .milliseconds(1))
        try peer.run()
        #expect(call.status == .deadlineExceeded && call.isClosed)
        #expect(held.ended == 1 && patient.status == nil)
        // An answer that comes too late goes nowhere.
        held.calls[0].respond { $0.writeString("late") }
        held.calls[0].fail(GRPCStatus(.internal))
        try peer.run()
        #expect(call.messages.isEmpty && call.status == .deadlineExceeded && held.ended == 1)
        fixture.loop.advanceTime(by: .seconds(10))
        try peer.run()
        #expect(patient.status == .deadlineExceeded && held.ended == 2)
    }

    @Test func `A deadline holds for a request that never comes, and for a stream`() throws {
        let held = Held()
        let fixture = try Fixture(adding: [echo, held.method(.serverStreaming)])
        let peer = try fixture.connect()
        let mute = try peer.open("/test.Service/Echo", timeout: "1S")
        let stream = try peer.open("/test.Service/Hold", timeout: "1S")
        stream.send(framed("x"), end: true)
        try peer.run()
        #expect(stream.headers[.status] == "200" && stream.status == nil)
        fixture.loop.advanceTime(by: .seconds(1))
        try peer.run()
        #expect(mute.status == .deadlineExceeded)
        #expect(stream.status == .deadlineExceeded && stream.trailers[.grpcStatus] == "4")
    }

    @Test func `Nothing expires that was answered in time`() throws {
        let fixture = try Fixture(adding: [echo])
        let peer = try fixture.connect()
        let call = try peer.open("/test.Service/Echo", timeout: "1S")
        call.send(framed("x"), end: true)
        try peer.run()
        fixture.loop.advanceTime(by: .seconds(5))
        try peer.run()
        #expect(call.status == .ok)
    }

    @Test(arguments: ["5", "1s", "123456789S"])
    func `A malformed deadline is an invalid argument`(timeout: String) throws {
        let peer = try Fixture(adding: [echo]).connect()
        let call = try peer.open("/test.Service/Echo", timeout: timeout)
        try peer.run()
        #expect(call.status == .invalidArgument && call.message.contains("grpc-timeout"))
    }

    @Test func `A cancelled call tells its handler, and so does a closed connection`() throws {
        let held = Held()
        let fixture = try Fixture(adding: [held.method()])
        let peer = try fixture.connect()
        let calls = try (0..<2).map { _ in
            let call = try peer.open("/test.Service/Hold")
            call.send(framed("x"), end: true)
            return call
        }
        try peer.run()
        calls[0].cancel()
        try peer.run()
        #expect(held.ended == 1 && held.calls[0].hasEnded && !held.calls[1].hasEnded)
        _ = try peer.channel.finish()
        #expect(held.ended == 2 && held.calls[1].hasEnded)
        #expect(fixture.metrics.text().contains(#"martlet_grpc_calls_total{method="/test.Service/Hold",code="CANCELLED"} 2"#))
    }

    @Test func `Calls are counted by method and code`() throws {
        let fixture = try Fixture(adding: [echo])
        let peer = try fixture.connect()
        for body in ["a", "b"] {
            let call = try peer.open("/test.Service/Echo")
            call.send(framed(body), end: true)
        }
        try peer.open("/test.Service/Echo").send(ByteBuffer(), end: true)
        try peer.run()
        let text = fixture.metrics.text()
        #expect(text.contains(#"martlet_grpc_calls_total{method="/test.Service/Echo",code="OK"} 2"#))
        #expect(text.contains(#"martlet_grpc_calls_total{method="/test.Service/Echo",code="UNIMPLEMENTED"} 1"#))
        #expect(text.contains(#"martlet_grpc_call_seconds_count{method="/test.Service/Echo"} 3"#))
        #expect(text.contains("martlet_grpc_connections 1"))
    }
}

@Suite struct GRPCConnectionTests {
    private let drain = DrainEvent(deadline: .now() + .seconds(10))

    @Test func `Draining ends streams, lets unary calls finish, and then closes the connection`() throws {
        let held = Held()
        let other = Held()
        let stream = GRPCMethod("test.Service", "Stream", .serverStreaming) { call, _ in
            other.calls.append(call)
            call.start(Silence())
        }
        let fixture = try Fixture(adding: [held.method(), stream])
        let peer = try fixture.connect()
        let unary = try peer.open("/test.Service/Hold")
        unary.send(framed("x"), end: true)
        let streaming = try peer.open("/test.Service/Stream")
        streaming.send(framed("x"), end: true)
        try peer.run()
        peer.channel.pipeline.fireUserInboundEventTriggered(drain)
        try peer.run()
        #expect(streaming.status == .unavailable && unary.status == nil)
        #expect(peer.goAways == 2 && peer.channel.isActive)
        held.calls[0].respond { $0.writeString("done") }
        try peer.run()
        #expect(unary.status == .ok && unary.messages == [ByteBuffer(string: "done")])
        #expect(!peer.channel.isActive)
    }

    @Test func `A peer that answers no ping is given a second for calls on their way`() throws {
        let fixture = try Fixture(adding: [echo])
        let peer = try fixture.connect()
        peer.channel.pipeline.fireUserInboundEventTriggered(drain)
        fixture.loop.run()
        #expect(peer.channel.isActive)
        fixture.loop.advanceTime(by: .seconds(1))
        #expect(!peer.channel.isActive)
    }

    @Test func `What is no HTTP/2 closes the connection and is counted`() throws {
        let fixture = try Fixture()
        let peer = try fixture.connect()
        try peer.channel.writeInbound(ByteBuffer(repeating: 0xff, count: 64 << 10))
        fixture.loop.run()
        #expect(!peer.channel.isActive)
        #expect(fixture.metrics.text().contains("martlet_grpc_connections_refused_total 1"))
    }

    @Test func `Nothing is collected while the channel is not writable`() throws {
        let fixture = try Fixture(adding: [echo])
        let peer = try fixture.connect()
        peer.channel.isWritable = false
        let call = try peer.open("/test.Service/Echo")
        call.send(framed("x"), end: true)
        try peer.run()
        #expect(call.status == nil)
        peer.channel.isWritable = true
        peer.channel.pipeline.fireChannelWritabilityChanged()
        try peer.run()
        #expect(call.status == .ok)
    }

    @Test func `A connection's metrics end with it`() throws {
        let fixture = try Fixture()
        let peer = try fixture.connect()
        #expect(fixture.metrics.text().contains("martlet_grpc_connections 1"))
        _ = try peer.channel.finish()
        #expect(fixture.metrics.text().contains("martlet_grpc_connections 0"))
    }
}
