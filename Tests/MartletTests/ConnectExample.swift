// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: the Swift snippet of docs/grpc.md, against a broker.

import Foundation
import Martlet
import Testing

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

// The snippet begins.
func publish(_ value: String, to topic: String, at broker: URL) async throws -> Int64 {
    struct Answer: Decodable {
        struct Batch: Decodable {
            // Protocol Buffers' JSON has 64-bit numbers as strings, and leaves out zeros.
            var baseOffset: String?
        }
        var batches: [Batch]
    }
    var request = URLRequest(url: broker.appendingPathComponent("martlet.v1.Streams/Publish"))
    request.httpMethod = "POST"
    request.setValue("application/json", forHTTPHeaderField: "content-type")
    let record = ["value": Data(value.utf8).base64EncodedString()]
    request.httpBody = try JSONSerialization.data(withJSONObject: ["topic": topic, "records": [record]])
    let (body, _) = try await URLSession.shared.data(for: request)
    return Int64(try JSONDecoder().decode(Answer.self, from: body).batches[0].baseOffset ?? "0") ?? 0
}
// The snippet ends.

@Suite struct ConnectExample {
    @Test func `Swift publishes over Connect without a library`() async throws {
        let broker = try await Broker.start(.fixture)
        let address = try #require(URL(string: "http://\(broker.address.host):\(broker.address.port)"))
        #expect(try await publish("hello", to: "greetings", at: address) == 0)
        #expect(try await publish("again", to: "greetings", at: address) == 1)
        try await broker.shutdown()
    }

    @Test func `The page has the snippet that is tested`() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let page = try String(contentsOf: root.appendingPathComponent("docs/grpc.md"), encoding: .utf8)
        let source = try String(contentsOf: URL(fileURLWithPath: #filePath), encoding: .utf8)
        let snippet = try #require(source.components(separatedBy: "// The snippet begins.\n").last?
            .components(separatedBy: "// The snippet ends.\n").first)
        #expect(page.contains("```swift\n" + snippet + "```\n"))
    }
}
