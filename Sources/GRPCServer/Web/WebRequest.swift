// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what a web request wants: which protocol it speaks, which method it calls, and whether it may.
//
//   POST /package.Service/Method   gRPC-Web or Connect, by the content type
//   GET  /v1/topics/{topic}/events, POST /v1/topics/{topic}/records
//   OPTIONS of either: a preflight
//
// A POST has to name one of these content types: none of them is one that a page may send to a foreign site unasked.

import GRPCWire
import NIOCore
import Telemetry
import Transport

enum WebRequest {
    case call(any WebTranslator, path: String, encoding: MessageEncoding, timeout: TimeAmount?)
    case preflight
    /// An HTTP status and why.
    case refused(Int, String)

    /// nil: not a web request.
    init?(_ head: HTTPHead) {
        let path = String(head.path)
        if path.hasPrefix("/v1/topics/") {
            self = Self.topic(head, path)
        } else if let made = Self.method(head, path) {
            self = made
        } else {
            return nil
        }
    }

    // MARK: Methods

    private static func method(_ head: HTTPHead, _ path: String) -> WebRequest? {
        let isMethod = path.split(separator: "/").count == 2 && path.utf8.contains(UInt8(ascii: "."))
        if head.method == "OPTIONS", isMethod { return .preflight }
        guard head.method == "POST" else { return nil }
        switch contentType(head) {
        case "application/grpc-web", "application/grpc-web+proto":
            return grpcWeb(head, path, isText: false)
        case "application/grpc-web-text", "application/grpc-web-text+proto":
            return grpcWeb(head, path, isText: true)
        case "application/json": return connect(head, path, isJSON: true, isStream: false)
        case "application/proto": return connect(head, path, isJSON: false, isStream: false)
        case "application/connect+json": return connect(head, path, isJSON: true, isStream: true)
        case "application/connect+proto": return connect(head, path, isJSON: false, isStream: true)
        default:
            return isMethod && head["content-type"]?.hasPrefix("application/grpc") != true
                ? .refused(415, "gRPC, gRPC-Web and Connect are spoken here, and this content type is none of theirs") : nil
        }
    }

    private static func grpcWeb(_ head: HTTPHead, _ path: String, isText: Bool) -> WebRequest {
        let translator = GRPCWebTranslator(isText: isText)
        guard let encoding = MessageEncoding(head["grpc-encoding"].map { ByteBuffer(string: $0) }) else {
            return .refused(415, "grpc-encoding is \(MessageEncoding.accepted)")
        }
        var timeout: TimeAmount?
        if let value = head["grpc-timeout"] {
            timeout = GRPCTimeout.parse(ByteBuffer(string: value))
            if timeout == nil { return .refused(400, "grpc-timeout is malformed") }
        }
        return .call(translator, path: path, encoding: encoding, timeout: timeout)
    }

    private static func connect(_ head: HTTPHead, _ path: String, isJSON: Bool, isStream: Bool) -> WebRequest {
        guard let transcoding = WebTranscoding.all[path] else {
            return .refused(404, "there is no method \(path) that can be called over Connect")
        }
        let compression = head[isStream ? "connect-content-encoding" : "content-encoding"]
        guard compression == nil || compression == "identity" else {
            return .refused(415, "compressed requests are not taken over Connect")
        }
        var timeout: TimeAmount?
        if let value = head["connect-timeout-ms"] {
            guard value.utf8.count <= 10, let milliseconds = Int64(value), milliseconds >= 0 else {
                return .refused(400, "connect-timeout-ms is malformed")
            }
            timeout = .milliseconds(milliseconds)
        }
        let translator: any WebTranslator =
            isStream
            ? ConnectStreamTranslator(transcoding, isJSON: isJSON) : ConnectUnaryTranslator(transcoding, isJSON: isJSON)
        return .call(translator, path: path, encoding: .identity, timeout: timeout)
    }

    // MARK: Topics

    private static func topic(_ head: HTTPHead, _ path: String) -> WebRequest {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst(3)
        guard parts.count == 2, let name = parts.first, let what = parts.last, !name.isEmpty else {
            return .refused(404, "there are /v1/topics/{topic}/events and /v1/topics/{topic}/records")
        }
        switch (head.method, what) {
        case ("OPTIONS", "events"), ("OPTIONS", "records"):
            return .preflight
        case ("GET", "events"):
            do throws(GRPCStatus) {
                let translator = try EventsTranslator(
                    topic: String(name), query: head.query, lastEventId: head["last-event-id"])
                return .call(translator, path: "/martlet.v1.Streams/Subscribe", encoding: .identity, timeout: nil)
            } catch {
                return .refused(400, error.message)
            }
        case ("POST", "records"):
            guard contentType(head) == "application/json" else {
                return .refused(415, "records are taken as application/json")
            }
            return .call(
                RecordsTranslator(topic: String(name)), path: "/martlet.v1.Streams/Publish", encoding: .identity,
                timeout: nil)
        case (_, "events"): return .refused(405, "events are read: GET")
        case (_, "records"): return .refused(405, "records are written: POST")
        default: return .refused(404, "there are /v1/topics/{topic}/events and /v1/topics/{topic}/records")
        }
    }

    /// Without parameters.
    private static func contentType(_ head: HTTPHead) -> String {
        let value = head["content-type"] ?? ""
        return String(value.prefix { $0 != ";" }).lowercased().filter { $0 != " " }
    }
}

extension GRPCServer {
    /// Begins a web request: the call, or nil if it is answered already, or was none (false).
    func begin(
        _ request: WebRequest, _ head: HTTPHead, sink: any WebSink, owner: any CallOwner
    ) -> WebCall? {
        let verdict = web.verdict(head, isTLS: owner.peer.isTLS)
        if case .refused(let why) = verdict {
            answer(403, why, [], sink)
            return nil
        }
        let fields = WebOptions.fields(verdict)
        switch request {
        case .preflight:
            guard case .allowed = verdict else {
                answer(403, "cors.allowed.origins lists the pages that may use this broker", [], sink)
                return nil
            }
            sink.head(WebHead(status: 204, contentType: "", fields: WebOptions.preflight(verdict)), length: 0)
            sink.finish()
            return nil
        case .refused(let status, let why):
            answer(status, why, fields, sink)
            return nil
        case .call(let translator, let path, let encoding, let timeout):
            let call = WebCall(translator, sink: sink, owner: owner, fields: fields)
            guard let route = router.route(ByteBuffer(string: path)) else {
                call.refuse(GRPCStatus(.unimplemented, "there is no method \(path)"))
                return nil
            }
            guard route.method.kind == .unary || route.method.kind == .serverStreaming else {
                call.refuse(GRPCStatus(.unimplemented, "\(path) takes many requests, which needs gRPC over HTTP/2"))
                return nil
            }
            if route.method.kind == .unary, translator is ConnectStreamTranslator {
                answer(415, "\(path) is unary: application/json or application/proto", fields, sink)
                return nil
            }
            if route.method.kind != .unary, translator is ConnectUnaryTranslator {
                answer(415, "\(path) is a stream: application/connect+json or application/connect+proto", fields, sink)
                return nil
            }
            call.begin(
                route, encoding: encoding, deadline: timeout.map { owner.loop.now + $0 },
                traceparent: head[TraceContext.headerName], authorization: head["authorization"])
            return call
        }
    }

    private func answer(_ status: Int, _ why: String, _ fields: [(name: String, value: String)], _ sink: any WebSink) {
        let body = ByteBuffer(string: why + "\n")
        sink.head(
            WebHead(
                status: status, contentType: "text/plain; charset=utf-8",
                fields: fields + [("x-content-type-options", "nosniff")]), length: body.readableBytes)
        sink.write(body)
        sink.finish()
    }
}
