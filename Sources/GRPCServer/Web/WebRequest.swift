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
    /// An HTTP status and why; the methods that there are, where it is another one.
    case refused(Int, String, allow: String? = nil)
    /// In the words of the protocol that it speaks, with these fields besides.
    case rejected(any WebTranslator, GRPCStatus, fields: [(name: String, value: String)] = [])
    /// The same as JSON, where a call would say it so.
    case failed(GRPCStatus)

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
        guard head.method == "POST" else {
            return WebTranscoding.all[path] == nil ? nil : .refused(405, "methods are called: POST", allow: "POST, OPTIONS")
        }
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
            return isMethod
                ? .refused(415, "gRPC-Web and Connect are spoken here, and gRPC over HTTP/2; this content type is none of theirs") : nil
        }
    }

    private static func grpcWeb(_ head: HTTPHead, _ path: String, isText: Bool) -> WebRequest {
        let translator = GRPCWebTranslator(isText: isText)
        guard let encoding = MessageEncoding(head["grpc-encoding"].map { ByteBuffer(string: $0) }) else {
            return .rejected(translator, .unsupported("grpc-encoding", head["grpc-encoding"], accepted: MessageEncoding.accepted))
        }
        var timeout: TimeAmount?
        if let value = head["grpc-timeout"] {
            timeout = GRPCTimeout.parse(ByteBuffer(string: value))
            if timeout == nil { return .rejected(translator, .malformed(timeout: value)) }
        }
        return .call(translator, path: path, encoding: encoding, timeout: timeout)
    }

    private static func connect(_ head: HTTPHead, _ path: String, isJSON: Bool, isStream: Bool) -> WebRequest {
        guard let transcoding = WebTranscoding.all[path] else {
            return .refused(404, "there is no method \(path) that can be called over Connect")
        }
        let translator: any WebTranslator =
            isStream
            ? ConnectStreamTranslator(transcoding, isJSON: isJSON) : ConnectUnaryTranslator(transcoding, isJSON: isJSON)
        let prefix = isStream ? "connect-" : ""
        let compression = head[prefix + "content-encoding"]
        guard compression == nil || compression == "identity" else {
            return .rejected(
                translator, .unsupported(prefix + "content-encoding", compression, accepted: "identity"),
                fields: [(prefix + "accept-encoding", "identity")])
        }
        var timeout: TimeAmount?
        if let value = head["connect-timeout-ms"] {
            guard (1...10).contains(value.utf8.count), value.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let milliseconds = Int64(value)
            else {
                return .rejected(
                    translator,
                    .invalid("connect-timeout-ms", "connect-timeout-ms \(value) is malformed: it is 1 to 10 digits, milliseconds"))
            }
            timeout = .milliseconds(milliseconds)
        }
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
                return .failed(error)
            }
        case ("POST", "records"):
            guard contentType(head) == "application/json" else {
                return .refused(415, "records are taken as application/json")
            }
            return .call(
                RecordsTranslator(topic: String(name)), path: "/martlet.v1.Streams/Publish", encoding: .identity,
                timeout: nil)
        case (_, "events"): return .refused(405, "events are read: GET", allow: "GET, OPTIONS")
        case (_, "records"): return .refused(405, "records are written: POST", allow: "POST, OPTIONS")
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
            answer(head, 403, why, [], sink)
            return nil
        }
        let fields = WebOptions.fields(verdict)
        switch request {
        case .preflight:
            guard case .allowed = verdict else {
                answer(head, 403, "cors.allowed.origins lists the pages that may use this broker", [], sink)
                return nil
            }
            sink.head(WebHead(status: 204, contentType: "", fields: WebOptions.preflight(verdict)), length: 0)
            sink.finish()
            return nil
        case .refused(let status, let why, let allow):
            answer(head, status, why, fields + (allow.map { [("allow", $0)] } ?? []), sink)
            return nil
        case .failed(let status):
            answer(head, status.httpStatus, "application/json", ConnectError.json(status), fields, sink)
            return nil
        case .rejected(let translator, let status, let more):
            let call = WebCall(translator, sink: sink, owner: owner, fields: fields + more)
            call.refuseAtEnd(status)
            return call
        case .call(let translator, let path, let encoding, let timeout):
            let call = WebCall(translator, sink: sink, owner: owner, fields: fields)
            guard let route = router.route(ByteBuffer(string: path)) else {
                call.refuse(.unknown(method: path))
                return call
            }
            guard route.method.kind == .unary || route.method.kind == .serverStreaming else {
                call.refuse(
                    GRPCStatus(.unimplemented, "NEEDS_GRPC", [("method", path)], "\(path) takes many requests, which needs gRPC over HTTP/2"))
                return call
            }
            if route.method.kind == .unary, translator is ConnectStreamTranslator {
                answer(head, 415, "\(path) is unary: application/json or application/proto", fields, sink)
                return nil
            }
            if route.method.kind != .unary, translator is ConnectUnaryTranslator {
                answer(head, 415, "\(path) is a stream: application/connect+json or application/connect+proto", fields, sink)
                return nil
            }
            call.begin(
                route, encoding: encoding, deadline: timeout.map { owner.loop.now + $0 }, head: head)
            return call
        }
    }

    private func answer(
        _ head: HTTPHead, _ status: Int, _ why: String, _ fields: [(name: String, value: String)], _ sink: any WebSink
    ) {
        answer(head, status, "text/plain; charset=utf-8", ByteBuffer(string: why + "\n"), fields, sink)
    }

    private func answer(
        _ head: HTTPHead, _ status: Int, _ contentType: String, _ body: ByteBuffer, _ fields: [(name: String, value: String)],
        _ sink: any WebSink
    ) {
        sink.head(
            WebHead(
                status: status, contentType: contentType,
                fields: fields + [("x-content-type-options", "nosniff")]), length: body.readableBytes)
        // Of what HEAD asks for only the head is sent (RFC 9110, section 9.3.2).
        if head.method != "HEAD" { sink.write(body) }
        sink.finish()
    }
}
