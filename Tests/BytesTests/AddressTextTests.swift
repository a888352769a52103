// SPDX-License-Identifier: Apache-2.0
// Martlet, BytesTests: one text for each address.

import NIOCore
import Testing

@testable import Bytes

@Suite struct AddressTextTests {
    @Test(arguments: [
        ("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("::FFFF:0a00:0001", "10.0.0.1"),
        ("0:0:0:0:0:ffff:10.0.0.1", "10.0.0.1"), ("0:0:0:0:0:0:0:1", "::1"), ("2001:DB8:0::1", "2001:db8::1"),
    ])
    func anAddressHasOneText(written: String, canonical: String) {
        #expect(AddressText.canonical(written) == canonical)
    }

    @Test(arguments: ["", "localhost", "10.0.0", "*", "::ffff:", "10.0.0.1:9092", "fe80::1%eth0", "10.0.0.1\u{0}", "10.0.0.1 "])
    func whatIsNoAddressHasNone(text: String) {
        #expect(AddressText.canonical(text) == nil)
    }

    @Test func socketsWithoutAnAddressHaveAnEmptyOne() throws {
        #expect(AddressText.of(nil).isEmpty)
        #expect(AddressText.of(try SocketAddress(unixDomainSocketPath: "/tmp/s")).isEmpty)
    }
}
