// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: request and response headers.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct HeaderTests {
    @Test func aRequestHeaderHasTagsOnlyInFlexibleVersions() throws {
        var plain = ByteBuffer()
        try RequestHeader(.fetch, version: 11, correlationId: 7, clientId: "me")
            .encode(into: &plain)
        #expect(plain == ByteBuffer(bytes: [0, 1, 0, 11, 0, 0, 0, 7, 0, 2, 0x6d, 0x65]))
        var flexible = ByteBuffer()
        try RequestHeader(.fetch, version: 12, correlationId: 7, clientId: nil)
            .encode(into: &flexible)
        #expect(flexible == ByteBuffer(bytes: [0, 1, 0, 12, 0, 0, 0, 7, 0xff, 0xff, 0]))
    }

    @Test(arguments: [Int16(11), 12])
    func aRequestHeaderIsReadUpToTheBody(version: Int16) throws {
        let header = RequestHeader(.fetch, version: version, correlationId: -3, clientId: "client")
        var buffer = ByteBuffer()
        try header.encode(into: &buffer)
        buffer.writeString("body")
        #expect(try RequestHeader(from: &buffer) == header)
        #expect(String(buffer: buffer) == "body")
    }

    @Test func theHeaderOfAnUnknownApiIsReadWithoutTags() throws {
        var buffer = ByteBuffer(bytes: [3, 0xe7, 0, 99, 0, 0, 0, 7, 0, 1, 0x61, 0xee])
        let header = try RequestHeader(from: &buffer)
        #expect(header.apiKey == 999)
        #expect(header.apiVersion == 99)
        #expect(header.correlationId == 7)
        #expect(header.clientId == "a")
        #expect(buffer.readableBytes == 1)
    }

    @Test func tagsInARequestHeaderAreSkipped() throws {
        var buffer = ByteBuffer(
            bytes: [0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 2, 0, 1, 0xaa, 5, 2, 0xbb, 0xcc, 0x42])
        #expect(try RequestHeader(from: &buffer).apiVersion == 3)
        #expect(buffer.readableBytes == 1)
    }

    @Test func aHeaderCutShortAtAnyByteIsAnErrorAndLeavesTheBuffer() throws {
        var whole = ByteBuffer()
        try RequestHeader(.produce, version: 9, correlationId: 1, clientId: "abc")
            .encode(into: &whole)
        for length in 0..<whole.readableBytes {
            var cut = try #require(whole.getSlice(at: 0, length: length))
            #expect(throws: WireError.self) { try RequestHeader(from: &cut) }
            #expect(cut.readableBytes == length)
        }
    }

    @Test func aResponseHeaderHasTagsInFlexibleVersionsOfAllButApiVersions() throws {
        let cases: [(ApiKey, Int16, Int)] = [
            (.fetch, 11, 4), (.fetch, 12, 5), (.apiVersions, 0, 4), (.apiVersions, 4, 4),
        ]
        for (key, version, length) in cases {
            var buffer = ByteBuffer()
            let header = ResponseHeader(correlationId: 0x0102_0304)
            try header.encode(into: &buffer, to: key, version: version)
            #expect(buffer.readableBytes == length, "\(key) \(version)")
            #expect(try ResponseHeader(from: &buffer, to: key, version: version) == header)
            #expect(buffer.readableBytes == 0)
        }
    }
}
