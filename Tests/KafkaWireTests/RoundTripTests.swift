// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: every message in every version comes back as it was sent.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct RoundTripTests {
    @Test func everyEntryOfTheApiTableHasARequestAndAResponse() {
        for entry in ApiTable.entries {
            let messages = CataloguedMessage.all.filter { $0.apiKey == entry.key }
            #expect(messages.filter(\.isRequest).count == 1, "\(entry.name)")
            #expect(messages.filter { !$0.isRequest }.count == 1, "\(entry.name)")
        }
        #expect(CataloguedMessage.all.count == 2 * ApiTable.entries.count)
    }

    @Test(arguments: CataloguedMessage.all)
    func aFilledMessageIsDecodedAsItWasInEveryVersion(message: CataloguedMessage) throws {
        for version in message.versions {
            for content in [FillingCoder.Content.full, .sparse] {
                let bytes = try message.filled(version, content)
                #expect(
                    try message.decodesToFilled(bytes, version, content),
                    "\(message.name) v\(version) \(content)")
            }
        }
    }

    @Test(arguments: CataloguedMessage.all)
    func versionsOutsideTheTableAreRefusedBothWays(message: CataloguedMessage) throws {
        let below = message.versions.lowerBound - 1
        let above = message.versions.upperBound + 1
        for version in [below, above, .max, .min] {
            #expect(throws: WireError.self) { try message.filled(version, .full) }
            #expect(throws: WireError.self) {
                try message.decode(ByteBuffer(repeating: 0, count: 256), version)
            }
        }
    }

    @Test(arguments: CataloguedMessage.all)
    func aMessageCutShortAtAnyByteIsAnError(message: CataloguedMessage) throws {
        for version in message.versions {
            for content in [FillingCoder.Content.full, .sparse] {
                let bytes = try message.filled(version, content)
                for length in 0..<bytes.readableBytes {
                    let cut = bytes.getSlice(at: bytes.readerIndex, length: length)!
                    #expect(throws: WireError.self, "\(message.name) v\(version) at \(length)") {
                        try message.decode(cut, version)
                    }
                }
            }
        }
    }

    @Test(arguments: CataloguedMessage.all)
    func everyThrottleTimeCanBeSet(message: CataloguedMessage) {
        #expect(message.throttleTime.isThere == message.throttleTime.isKnown)
    }
}
