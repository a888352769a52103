// SPDX-License-Identifier: Apache-2.0
// Martlet, BytesTests: checksums, ids and clocks.

import Testing

@testable import Bytes

@Suite struct BytesTests {
    @Test func crc32cMatchesThePublishedVector() {
        // RFC 3720 B.4 and the common check value of CRC-32C: "123456789".
        let bytes = Array("123456789".utf8)
        #expect(unsafe bytes.withUnsafeBytes { unsafe crc32c($0) } == 0xe306_9283)
        let split = unsafe bytes.withUnsafeBytes { raw in
            unsafe crc32c(UnsafeRawBufferPointer(rebasing: raw[4...]), seed: crc32c(UnsafeRawBufferPointer(rebasing: raw[..<4])))
        }
        #expect(split == 0xe306_9283)
    }

    @Test func topicIdReadsWhatItPrints() {
        for _ in 0..<100 {
            let id = TopicId(random: { .random(in: .min ... .max) })
            #expect(id.description.utf8.count == 22)
            #expect(TopicId(id.description) == id)
        }
        #expect(TopicId.zero.description == "AAAAAAAAAAAAAAAAAAAAAA")
        #expect(TopicId("short") == nil)
    }
}
