// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: the messages of SASL OAUTHBEARER (RFC 7628), as far as Kafka speaks it.
//
//   client  n,[a=user],^Aauth=Bearer token^A[name=value^A …]^A   ->  (nothing): logged in
//                                                                ->  {"status":"invalid_token"}; client ^A, and the end

package struct OAuthBearerMessage: Sendable {
    /// A token and some extensions.
    package static let bytesMax = 2 * BearerToken.bytesMax
    /// What a client is told whose token is not accepted; it answers with `acknowledgement`.
    package static let refusal = Array(#"{"status":"invalid_token"}"#.utf8)
    package static let acknowledgement: [UInt8] = [1]
    private static let separator: UInt8 = 1

    package var token: String
    /// Whom the client asks to act as, which can only be the one in the token.
    package var user: String?

    /// nil: malformed or too long.
    package init?(_ message: [UInt8]) {
        guard message.count <= Self.bytesMax else { return nil }
        let parts = message.split(separator: Self.separator, omittingEmptySubsequences: false)
        // A header, at least one pair, and what two separators in a row end with.
        guard parts.count >= 4, parts[parts.count - 1].isEmpty, parts[parts.count - 2].isEmpty,
            let header = String(validating: parts[0], as: UTF8.self)
        else { return nil }
        let fields = header.split(separator: ",", omittingEmptySubsequences: false)
        guard fields.count == 3, fields[0] == "n" || fields[0] == "y", fields[2].isEmpty else { return nil }
        if !fields[1].isEmpty {
            guard fields[1].hasPrefix("a="), let name = ScramExchange.name(fields[1].dropFirst(2)) else { return nil }
            user = name
        }
        var found: String?
        for pair in parts[1..<(parts.count - 2)] {
            guard let text = String(validating: pair, as: UTF8.self), let equals = text.firstIndex(of: "=") else { return nil }
            guard text[..<equals] == "auth" else { continue }
            let words = text[text.index(after: equals)...].split(separator: " ", omittingEmptySubsequences: false)
            guard found == nil, words.count == 2, words[0].lowercased() == "bearer", !words[1].isEmpty else { return nil }
            found = String(words[1])
        }
        guard let found else { return nil }
        token = found
    }
}
