// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: gRPC-Web, Connect, server-sent events and records as JSON, over HTTP/2 without a socket; and whose
// pages may.

import Bytes
import Contract
import Engine
import Foundation
import GRPCWire
import HTTP2
import NIOCore
import NIOEmbedded
import SwiftProtobuf
import Testing
import Transport

@testable import GRPCServer

/// What came back for a web request, as it is.
final class WebAnswer: HTTP2StreamHandler {
    var fields: [String: String] = [:]
    var body = ByteBuffer()
    var isClosed = false
    var stream: HTTP2Stream?

    var status: String { fields[":status"] ?? "" }
    var text: String { String(buffer: body) }

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        for (name, value) in fields.all { self.fields[name] = value }
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) { body.writeImmutableBuffer(data) }
    func receivedEnd(on stream: HTTP2Stream) {}
    func produce(room: Int, on stream: HTTP2Stream) {}
    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) { isClosed = true }
}

extension Peer {
    func web(
        _ method: String, _ path: String, _ contentType: String? = nil, body: ByteBuffer = ByteBuffer(),
        _ extra: [(String, String)] = [], authority: String = "localhost:9092"
    ) throws -> WebAnswer {
        let answer = WebAnswer()
        var fields: [(name: String, value: String)] = [
            (":method", method), (":scheme", "http"), (":path", path), (":authority", authority),
        ]
        if let contentType { fields.append(("content-type", contentType)) }
        fields += extra.map { (name: $0.0, value: $0.1) }
        answer.stream = session.request(HTTP2FieldList(fields), handler: answer)
        answer.stream?.outbound.writeImmutableBuffer(body)
        answer.stream?.resume()
        answer.stream?.finish()
        try run()
        return answer
    }
}

/// Base64 of which every piece is padded by itself.
private func unpacked(_ text: String) -> String {
    let letters = Array(text.utf8)
    let bytes = stride(from: 0, to: letters.count, by: 4).compactMap { at in
        Base64.decode(Array(letters[at..<min(at + 4, letters.count)]))
    }
    return String(decoding: bytes.flatMap { $0 }, as: UTF8.self)
}

private func readFrames(_ body: inout ByteBuffer) -> [(flags: UInt8, message: ByteBuffer)] {
    var frames: [(flags: UInt8, message: ByteBuffer)] = []
    while let flags = body.readInteger(as: UInt8.self), let length = body.readInteger(as: UInt32.self),
        let message = body.readSlice(length: Int(length))
    { frames.append((flags, message)) }
    return frames
}

private func head(_ fields: [(String, String)], method: String = "GET", target: String = "/") -> HTTPHead {
    HTTPHead(method: method, target: target, fields: fields.map { (name: $0.0, value: $0.1) })
}

@Suite struct WebOptionsTests {
    @Test(arguments: [
        ("127.0.0.1:9092", nil, nil, true), ("localhost:9092", nil, nil, true), ("[::1]:9092", nil, nil, true),
        ("broker:9092", nil, nil, true), ("evil.example:9092", nil, nil, false),
        ("localhost:9092", "http://localhost:9092", nil, true), ("localhost:9092", "http://evil.example", nil, false),
        ("localhost:9092", "null", nil, false), ("localhost:9092", "http://localhost:3000", nil, false),
        ("evil.example:9092", "http://evil.example:9092", nil, false), ("localhost:9092", nil, "cross-site", false),
        ("localhost:9092", nil, "same-site", false), ("localhost:9092", nil, "same-origin", true),
        ("localhost:9092", nil, "none", true),
    ])
    func `Only the broker's own pages may, and a name that could be anybody's is not the broker's`(
        host: String, origin: String?, site: String?, expected: Bool
    ) {
        var fields = [("host", host)]
        if let origin { fields.append(("origin", origin)) }
        if let site { fields.append(("sec-fetch-site", site)) }
        let verdict = WebOptions().verdict(head(fields), isTLS: false)
        #expect((verdict == .own) == expected, "\(verdict)")
    }

    @Test func `Origins that are listed may, with their name in the answer`() {
        let listed = WebOptions(allowedOrigins: ["https://App.example"])
        let fields = [("host", "localhost:9092"), ("origin", "https://app.example")]
        #expect(listed.verdict(head(fields), isTLS: false) == .allowed(origin: "https://app.example", credentials: true))
        let all = WebOptions(allowedOrigins: ["*"])
        #expect(all.verdict(head(fields), isTLS: false) == .allowed(origin: "*", credentials: false))
        let own = WebOptions(hosts: ["broker.example"])
        #expect(own.verdict(head([("host", "broker.example")]), isTLS: false) == .own)
    }

    @Test func `Under TLS the certificate proves the name`() {
        #expect(WebOptions().verdict(head([("host", "any.example")]), isTLS: true) == .own)
        let foreign = head([("host", "any.example"), ("origin", "https://evil.example")])
        #expect(WebOptions().verdict(foreign, isTLS: true) != .own)
    }
}

@Suite struct WebTests {
    private let fixture: Fixture
    private let peer: Peer

    init() throws {
        fixture = try Fixture()
        _ = try fixture.topic("orders")
        peer = try fixture.connect()
    }

    private func request() throws -> ByteBuffer {
        let request = Martlet_V1_PublishRequest.with {
            $0.topic = "orders"
            $0.records = [.with { $0.value = Data("x".utf8) }]
        }
        return ByteBuffer(bytes: try request.serializedBytes() as [UInt8])
    }

    @Test func `Every method can be called by name and JSON, but those with many requests`() {
        for name in ["Publish", "Subscribe", "Commit", "Committed"] {
            #expect(WebTranscoding.all["/martlet.v1.Streams/\(name)"] != nil)
        }
        #expect(WebTranscoding.all["/martlet.v1.Work/Redrive"] != nil)
        for path in WebTranscoding.all.keys {
            #expect(fixture.server.router.route(ByteBuffer(string: path)) != nil, "\(path)")
        }
    }

    // MARK: gRPC-Web

    @Test func `gRPC-Web has the message and then the status in the body`() throws {
        let answer = try peer.web("POST", "/martlet.v1.Streams/Publish", "application/grpc-web+proto", body: .frame(request()))
        #expect(answer.status == "200" && answer.fields["content-type"] == "application/grpc-web+proto")
        var body = answer.body
        let frames = readFrames(&body)
        let response = try Martlet_V1_PublishResponse(serializedBytes: Array(frames[0].message.readableBytesView))
        #expect(response.batches.first?.baseOffset == 0)
        #expect(frames.map(\.flags) == [0, 0x80] && answer.isClosed)
        #expect(String(buffer: frames[1].message) == "grpc-status: 0\r\n")
    }

    @Test func `gRPC-Web as text is base64 both ways, in any pieces`() throws {
        let text = Base64.encode(ByteBuffer.frame(try request()).readableBytesView)
        peer.chunk = 7
        let answer = try peer.web(
            "POST", "/martlet.v1.Streams/Publish", "application/grpc-web-text", body: ByteBuffer(string: text))
        #expect(unpacked(answer.text).contains("grpc-status: 0"))
        let broken = try peer.web(
            "POST", "/martlet.v1.Streams/Publish", "application/grpc-web-text", body: ByteBuffer(string: "!!!!"))
        #expect(unpacked(broken.text).contains("grpc-status: 3"))
    }

    @Test func `A gRPC-Web error is in the body too, and calls with many requests are refused`() throws {
        let missing = try peer.web(
            "POST", "/martlet.v1.Streams/Nothing", "application/grpc-web+proto", body: .frame(ByteBuffer()))
        #expect(missing.status == "200" && missing.text.contains("grpc-status: 12"))
        let stream = try peer.web(
            "POST", "/martlet.v1.Streams/PublishStream", "application/grpc-web+proto", body: .frame(ByteBuffer()))
        #expect(stream.text.contains("grpc-status: 12"))
    }

    @Test func `A gRPC-Web stream delivers as records come`() throws {
        let subscribe = Martlet_V1_SubscribeRequest.with {
            $0.topics = [.with { $0.topic = "orders" }]
            $0.origin = .earliest
        }
        let body = ByteBuffer.frame(ByteBuffer(bytes: try subscribe.serializedBytes() as [UInt8]))
        let answer = try peer.web("POST", "/martlet.v1.Streams/Subscribe", "application/grpc-web+proto", body: body)
        #expect(answer.status == "200" && answer.body.readableBytes == 0 && !answer.isClosed)
        _ = try peer.publish("orders", ["hello"])
        #expect(answer.text.contains("hello") && !answer.isClosed)
    }

    // MARK: Connect

    @Test func `Connect is JSON in and JSON out, and an HTTP status tells of errors`() throws {
        let json = ByteBuffer(string: #"{"topic":"orders","records":[{"value":"eA=="}]}"#)
        let answer = try peer.web("POST", "/martlet.v1.Streams/Publish", "application/json", body: json)
        #expect(answer.status == "200" && answer.fields["content-type"] == "application/json")
        let response = try Martlet_V1_PublishResponse(jsonString: answer.text)
        #expect(response.batches.count == 1 && response.batches[0].recordPositions == [0])
        let missing = try peer.web(
            "POST", "/martlet.v1.Admin/DescribeTopic", "application/json; charset=utf-8",
            body: ByteBuffer(string: #"{"name":"none"}"#))
        #expect(missing.status == "404" && missing.text.contains(#""code":"not_found""#))
        let wrong = try peer.web(
            "POST", "/martlet.v1.Streams/Publish", "application/json", body: ByteBuffer(string: #"{"tropic":"orders"}"#))
        #expect(wrong.status == "400" && wrong.text.contains("invalid_argument"))
        let binary = try peer.web("POST", "/martlet.v1.Streams/Publish", "application/proto", body: request())
        #expect(binary.status == "200" && binary.fields["content-type"] == "application/proto")
    }

    @Test func `A Connect stream is enveloped and ends with JSON`() throws {
        _ = try peer.publish("orders", ["hello"])
        let json = #"{"topics":[{"topic":"orders"}],"origin":"ORIGIN_EARLIEST","untilEnd":true}"#
        let answer = try peer.web(
            "POST", "/martlet.v1.Streams/Subscribe", "application/connect+json", body: .frame(ByteBuffer(string: json)))
        #expect(answer.status == "200" && answer.fields["content-type"] == "application/connect+json")
        var body = answer.body
        let frames = readFrames(&body)
        let response = try Martlet_V1_SubscribeResponse(jsonString: String(buffer: frames[0].message))
        #expect(response.batches.first?.records.map(\.value) == [Data("hello".utf8)])
        #expect(frames.map(\.flags) == [0, 2] && String(buffer: frames[1].message) == "{}")
        let unary = try peer.web("POST", "/martlet.v1.Streams/Subscribe", "application/json", body: ByteBuffer(string: json))
        #expect(unary.status == "415")
        let failing = try peer.web(
            "POST", "/martlet.v1.Streams/Subscribe", "application/connect+json", body: .frame(ByteBuffer(string: "{}")))
        #expect(failing.status == "200" && failing.text.contains(#"{"error":{"code":"invalid_argument""#))
    }

    // MARK: Events and records

    @Test func `Records are written as JSON, and each is told its offset`() throws {
        let json = #"{"records":[{"key":"k","value":"v","headers":[{"key":"h","value":"x"}],"timestampMs":5},{"valueBase64":"/w=="},{"value":null}]}"#
        let answer = try peer.web("POST", "/v1/topics/orders/records", "application/json", body: ByteBuffer(string: json))
        #expect(answer.status == "200")
        #expect(
            answer.text
                == "{\"offsets\":[{\"partition\":0,\"offset\":0},{\"partition\":0,\"offset\":1},{\"partition\":0,\"offset\":2}]}\n")
        let read = try peer.subscribe("orders") { $0.untilEnd = true }.records()
        #expect(read[0].key == Data("k".utf8) && read[0].timestampMs == 5 && read[0].headers.map(\.key) == ["h"])
        #expect(read[1].value == Data([255]) && !read[2].hasValue)
    }

    @Test(arguments: [
        ("{", "JSON"), ("[]", "JSON"), (#"{"records":1}"#, "records"), (#"{"record":[]}"#, "record"), ("{}", "records is empty"),
        (#"{"records":[{"value":{"a":1}}]}"#, "records[0].value"), (#"{"records":[{"valueBase64":"!"}]}"#, "valueBase64"),
        (#"{"records":[{"timestampMs":1.5}]}"#, "timestampMs"), (#"{"records":[{}],"partition":-1}"#, "partition"),
    ])
    func `What is wrong with a body is said`(body: String, word: String) throws {
        let answer = try peer.web("POST", "/v1/topics/orders/records", "application/json", body: ByteBuffer(string: body))
        #expect(answer.status == "400" && answer.text.contains(word), "\(answer.text)")
    }

    @Test func `Events are records with an id to go on from`() throws {
        _ = try fixture.topic("pair", partitions: 2)
        _ = try peer.publish("pair", ["a", "b"], partition: 0)
        let all = try peer.web("GET", "/v1/topics/pair/events?from=earliest")
        #expect(all.status == "200" && all.fields["content-type"] == "text/event-stream")
        #expect(all.text.contains("id: 0:1,1:0\ndata: {\"topic\":\"pair\",\"partition\":0,\"offset\":0,"))
        #expect(all.text.contains("id: 0:2,1:0\n") && all.text.contains("\"value\":\"b\"") && !all.isClosed)
        let rest = try peer.web("GET", "/v1/topics/pair/events?from=earliest", nil, [("last-event-id", "0:1,1:0")])
        #expect(!rest.text.contains("\"value\":\"a\"") && rest.text.contains("\"value\":\"b\""))
        let latest = try peer.web("GET", "/v1/topics/pair/events?partition=1")
        _ = try peer.publish("pair", ["c"], partition: 1)
        _ = try peer.publish("pair", ["d"], partition: 0)
        #expect(latest.text.contains("\"value\":\"c\"") && !latest.text.contains("\"value\":\"d\""))
        for wrong in ["from=soon", "partition=x", "until=1", "from=-1"] {
            #expect(try peer.web("GET", "/v1/topics/pair/events?" + wrong).status == "400")
        }
    }

    @Test func `Events that cannot begin have a status, and JSON as records have it`() throws {
        _ = try fixture.topic("wide", partitions: 101)
        for (target, status, word) in [
            ("none/events", "404", "UNKNOWN_TOPIC"), ("orders/events?partition=7", "404", "UNKNOWN_PARTITION"),
            ("orders/events?from=soon", "400", "from is earliest"), ("orders/events?from=9", "400", "from=earliest"),
            ("orders/events?partition=0&partition=0", "400", "twice"), ("wide/events", "400", "choose some with partition="),
        ] {
            let answer = try peer.web("GET", "/v1/topics/" + target)
            #expect(answer.status == status && answer.fields["content-type"] == "application/json", "\(target)")
            #expect(answer.text.hasPrefix("{\"code\":") && answer.text.contains(word) && answer.isClosed, "\(answer.text)")
        }
        let id = try peer.web("GET", "/v1/topics/orders/events", nil, [("last-event-id", "x")])
        #expect(id.status == "400" && id.text.contains("Last-Event-ID"))
    }

    @Test func `What goes wrong later is an event`() throws {
        let events = try peer.web("GET", "/v1/topics/orders/events")
        #expect(events.status == "200" && !events.isClosed)
        _ = fixture.engine.topics.delete("orders", on: fixture.loop)
        fixture.loop.run()
        try peer.run()
        #expect(events.text.contains("event: error\ndata: {\"code\":\"not_found\"") && events.isClosed, "\(events.text)")
    }

    @Test func `No error speaks of what things are called inside`() throws {
        for body in [
            "{", #"{"topic":1}"#, #"{"topic":"a" "#, #"{"tropic":""}"#, #"{"records":[{"value":"!"}]}"#,
            #"{"partition":9999999999}"#, "{} {}", "[]", #"{"topic":null,"records":7}"#,
        ] {
            let answer = try peer.web(
                "POST", "/martlet.v1.Streams/Publish", "application/json", body: ByteBuffer(string: body))
            #expect(answer.status == "400" && answer.text.contains("INVALID_MESSAGE"), "\(answer.text)")
            for name in ["malformed", "failure", "truncated", "schemaMismatch", "DecodingError", "trailingGarbage"] {
                #expect(!answer.text.contains(name), "\(body): \(answer.text)")
            }
            if body.contains("tropic") { #expect(answer.text.contains("tropic is not known here"), "\(answer.text)") }
        }
    }

    // MARK: Who may

    @Test func `Foreign pages are refused before anything is done`() throws {
        let json = ByteBuffer(string: #"{"records":[{"value":"x"}]}"#)
        let foreign = [("origin", "http://evil.example")]
        let path = "/v1/topics/orders/records"
        #expect(try peer.web("POST", path, "application/json", body: json, foreign).status == "403")
        #expect(try peer.web("OPTIONS", path, nil, foreign).status == "403")
        #expect(try peer.web("POST", path, "text/plain", body: json).status == "415")
        #expect(try peer.web("POST", path, "application/json", body: json, authority: "evil.example:9092").status == "403")
        #expect(try peer.web("GET", "/v1/topics/orders/events", nil, [("sec-fetch-site", "cross-site")]).status == "403")
        let grpcWeb = try peer.web(
            "POST", "/martlet.v1.Streams/Publish", "application/grpc-web+proto", body: .frame(request()), foreign)
        #expect(grpcWeb.status == "403")
        #expect(fixture.engine.topics.topic(named: "orders")?.partition(0)?.offsets.highWatermark == 0)
    }
}
