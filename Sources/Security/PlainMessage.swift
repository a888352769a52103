// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: the one message of SASL PLAIN (RFC 4616): who, and the password.

package struct PlainMessage: Sendable {
    package static let bytesMax = 4_096

    package var user: String
    package var password: String

    /// nil: malformed, too long, or it asks to act as somebody else.
    package init?(_ message: [UInt8]) {
        guard message.count <= Self.bytesMax, let text = String(validating: message, as: UTF8.self) else { return nil }
        let parts = text.split(separator: "\0", omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[1].isEmpty, !parts[2].isEmpty, parts[0].isEmpty || parts[0] == parts[1] else {
            return nil
        }
        user = String(parts[1])
        password = String(parts[2])
    }
}
