// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: error codes have Kafka's numbers and names.

import Testing

@testable import KafkaWire

@Suite struct KafkaErrorCodeTests {
    @Test func everyCodeHasKafkasNumberAndName() throws {
        let lines = try GoldenFile.lines("errors.txt")
        #expect(lines.count == KafkaErrorCode.allCases.count)
        for line in lines {
            let code = try #require(Int16(line[1]).flatMap(KafkaErrorCode.init(rawValue:)))
            #expect(code.name == line[0])
        }
    }

    @Test func anUnknownCodeIsReadAsUnknownServerError() {
        #expect(KafkaErrorCode(wire: 9999) == .unknownServerError)
        #expect(KafkaErrorCode(wire: -2) == .unknownServerError)
        #expect(KafkaErrorCode(wire: 0) == KafkaErrorCode.none)
    }
}
