// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: the table of APIs, the handlers and the documentation say the same.

import Glibc
import KafkaWire
import NIOCore
import Testing

@testable import Engine
@testable import KafkaServer

@Suite struct RouterTests {
    private func text(_ path: String) throws -> String {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        // SAFETY: the stream is closed once, below.
        let stream = unsafe fopen("/\(root)/\(path)", "r")
        guard let file = unsafe stream else { throw NotFound() }
        defer { _ = unsafe fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    private struct NotFound: Error {}

    private func key<Handler: KafkaHandler>(of handler: Handler.Type) -> Int16 {
        Handler.Request.apiKey.rawValue
    }

    @Test func everyServedAPIHasOneHandlerAndEveryHandlerIsServed() {
        let handled = Router.handlers.map { key(of: $0) }
        #expect(Set(handled).count == handled.count)
        #expect(handled.sorted() == ApiTable.served.map(\.key.rawValue))
    }

    /// `make docs` writes the page.
    @Test func theDocumentationIsWhatTheBrokerPrintsWithTheMatrixOfClients() throws {
        var expected = SupportReference.markdown
        if let matrix = try? text("Tests/interop/matrix.md") { expected += "\n" + matrix }
        #expect(try text("docs/kafka-support.md") == expected, "run `make docs`")
    }

    /// Clients take these APIs as one feature or not at all (librdkafka's feature map).
    @Test func noFamilyIsServedInPart() {
        let served = Set(ApiTable.served.map(\.key))
        let families: [Set<ApiKey>] = [
            [.findCoordinator, .offsetCommit, .offsetFetch, .joinGroup, .syncGroup, .heartbeat, .leaveGroup],
            [.addPartitionsToTxn, .addOffsetsToTxn, .endTxn, .txnOffsetCommit],
            [.saslHandshake, .saslAuthenticate],
            [.describeAcls, .createAcls, .deleteAcls],
        ]
        for family in families {
            #expect(family.isSubset(of: served) || family.isDisjoint(with: served))
        }
    }
}
