// SPDX-License-Identifier: Apache-2.0
// Martlet, Bytes: addresses as text, one way for each, so that texts can be compared.
//
// Peers, access rules, quotas and limits of connections all name addresses. An IPv4 address that came in through an IPv6 socket
// (`::ffff:10.0.0.1`) is the IPv4 address, as in Java; an IPv6 address is written short (RFC 5952).

import NIOCore

package enum AddressText {
    private static let mapped = "::ffff:"

    /// Without its port; empty for what is no address of the Internet.
    package static func of(_ address: SocketAddress?) -> String {
        guard let text = address?.ipAddress else { return "" }
        return text.hasPrefix(mapped) && text.contains(".") ? String(text.dropFirst(mapped.count)) : text
    }

    /// The one way to write this address; nil: it is none.
    package static func canonical(_ text: String) -> String? {
        // What comes behind a zero byte, or names an interface, would be left out.
        guard text.utf8.allSatisfy({ $0 != 0 && $0 != UInt8(ascii: "%") }) else { return nil }
        return (try? SocketAddress(ipAddress: text, port: 0)).map { of($0) }
    }
}
