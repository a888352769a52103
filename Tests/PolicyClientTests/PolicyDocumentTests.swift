// SPDX-License-Identifier: Apache-2.0
// Martlet, PolicyClientTests: addresses, what is asked, and what answers mean.

import Bytes
import Engine
import Testing

@testable import PolicyClient

@Suite struct PolicyDocumentTests {
    private let question = AccessQuestion(
        AccessClient(principal: "User:CN=a \"b\",O=ü", host: "10.0.0.7", listener: "0.0.0.0:9092", wire: "grpc", isTLS: true),
        .describeConfigs, .transactionalId, "x\n\\y")

    @Test func aQuestionIsADocumentOfPoliciesForKafka() throws {
        let document = try #require(JSONValue(PolicyDocument.input(question)))
        let context: [String: JSONValue] = [
            "principal": .object(["principalType": .string("User"), "name": .string("CN=a \"b\",O=ü")]),
            "clientAddress": .string("10.0.0.7"), "listenerName": .string("0.0.0.0:9092"),
            "securityProtocol": .string("SSL"), "protocol": .string("grpc"),
        ]
        let action: [String: JSONValue] = [
            "operation": .string("DESCRIBE_CONFIGS"),
            "resourcePattern": .object([
                "resourceType": .string("TRANSACTIONAL_ID"), "name": .string("x\n\\y"), "patternType": .string("LITERAL"),
            ]),
        ]
        #expect(document == .object(["input": .object(["action": .object(action), "requestContext": .object(context)])]))
    }

    @Test(arguments: [
        (#"{"result":true}"#, PolicyAnswer.allowed), (#"{"result":false}"#, .denied), ("{}", .denied),
        (#"{"result":{"allow":true,"why":"x"}}"#, .allowed), (#"{"result":{"allow":false}}"#, .denied),
        (#"{"result":{}}"#, .denied), (#"{"decision_id":"1","result":true,"metrics":{"t":1}}"#, .allowed),
    ])
    func whatIsSaidIsUnderstood(body: String, answer: PolicyAnswer) {
        #expect(PolicyDocument.answer(status: 200, body: Array(body.utf8)) == answer)
    }

    @Test(arguments: [
        (200, ""), (200, "true"), (200, "[true]"), (200, #"{"result":"true"}"#), (200, #"{"result":1}"#), (200, #"{"result":null}"#),
        (200, #"{"result":{"allow":"yes"}}"#), (200, #"{"result":{"allow":1}}"#), (200, #"{"result":true"#),
        (200, #"{"result":true,"result":false}"#), (200, #"{"result":true}x"#), (500, #"{"result":true}"#),
        (404, #"{"result":true}"#), (204, ""), (302, #"{"result":true}"#),
    ])
    func anythingElseIsNoDecision(status: Int, body: String) {
        guard case .failed = PolicyDocument.answer(status: status, body: Array(body.utf8)) else {
            Issue.record("\(status) \(body)")
            return
        }
    }

    @Test func whatIsQuotedOfAnAnswerIsShortAndHarmless() {
        let body = Array(("\u{1b}[2J" + String(repeating: "x", count: 10_000)).utf8)
        var cause = ""
        if case .failed(let said) = PolicyDocument.answer(status: 500, body: body) { cause = said }
        #expect(cause.contains("status 500") && cause.utf8.count < 300 && !cause.contains("\u{1b}"))
    }

    @Test func addressesAreRead() throws {
        let local = try #require(PolicyAddress("http://127.0.0.1:8181/v1/data/kafka/authz/allow?x=1"))
        #expect(local.place == .host("127.0.0.1", port: 8181) && local.path == "/v1/data/kafka/authz/allow?x=1")
        #expect(!local.isTLS && local.hostField == "127.0.0.1:8181")
        let remote = try #require(PolicyAddress("https://opa.example.org"))
        #expect(remote.place == .host("opa.example.org", port: 443) && remote.path == "/" && remote.isTLS)
        #expect(remote.hostField == "opa.example.org")
        let six = try #require(PolicyAddress("http://[::1]:80/x"))
        #expect(six.place == .host("::1", port: 80) && six.hostField == "[::1]")
        let socket = try #require(PolicyAddress("http://unix:/run/opa.sock:/v1/data/a"))
        #expect(socket.place == .socket(path: "/run/opa.sock") && socket.path == "/v1/data/a")
    }

    @Test(arguments: [
        "", "localhost:8181", "ftp://x/", "http://", "http:///v1", "http://:80/", "http://h:0/", "http://h:99999/", "http://h:x/",
        "http://user:secret@h/", "http://h/a b", "http://h/#f", "http://::1/", "http://unix:run:/x", "http://unix:/run/opa.sock",
        "https://unix:/run/opa.sock:/x", "http://h/\r\nx: y", "http://h?x",
    ])
    func whatIsNoAddressIsRefused(text: String) {
        #expect(PolicyAddress(text) == nil)
    }
}
