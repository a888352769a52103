// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: which web pages may use the broker: nobody's, until somebody says so.
//
// A page is foreign if its origin is neither allowed nor the broker's own address. A page of a name that was made to point
// to this machine (DNS rebinding) looks like the broker's own, so in plaintext, where no certificate proves the name, only
// names that cannot be rebound are taken for the broker's. What is no browser sends no origin and passes.

import Transport

package struct WebOptions: Sendable {
    /// `scheme://host[:port]`, lower case; or `*` alone.
    package var allowedOrigins: Set<String>
    /// Names, without port, by which the broker is reached in plaintext besides addresses and localhost.
    package var hosts: Set<String>

    package init(allowedOrigins: [String] = [], hosts: [String] = []) {
        self.allowedOrigins = Set(allowedOrigins.map { $0.lowercased() })
        self.hosts = Set(hosts.map { $0.lowercased() })
    }

    enum Verdict: Equatable {
        /// No page, or the broker's own.
        case own
        /// A page that may: with these fields in the answer.
        case allowed(origin: String, credentials: Bool)
        /// Why not.
        case refused(String)
    }

    func verdict(_ head: HTTPHead, isTLS: Bool) -> Verdict {
        let authority = (head[":authority"] ?? head["host"] ?? "").lowercased()
        let origin = head["origin"]?.lowercased()
        if let origin, allowedOrigins.contains(origin) { return .allowed(origin: origin, credentials: true) }
        if origin != nil, allowedOrigins.contains("*") { return .allowed(origin: "*", credentials: false) }
        let host = Self.host(of: authority)
        if !isTLS, !isOwn(host) {
            return .refused(
                "the host \(host) is not known as this broker's; use an IP address or localhost, or let advertise be that name")
        }
        if let origin {
            guard origin == "\(isTLS ? "https" : "http")://\(authority)" else {
                return .refused("pages of \(origin) may not use this broker; cors.allowed.origins lists those that may")
            }
            return .own
        }
        // Images, scripts and links of other pages send no origin, but say this.
        if let site = head["sec-fetch-site"], site == "cross-site" || site == "same-site" {
            return .refused("pages of other sites may not use this broker; cors.allowed.origins lists those that may")
        }
        return .own
    }

    private func isOwn(_ host: String) -> Bool {
        // Names without a dot are of this machine's own network.
        !host.utf8.contains(UInt8(ascii: ".")) || host.hasSuffix(".localhost") || Self.isAddress(host) || hosts.contains(host)
    }

    static func host(of authority: String) -> String {
        if authority.hasPrefix("[") { return String(authority.prefix { $0 != "]" }) + "]" }
        return String(authority.prefix { $0 != ":" })
    }

    /// A literal IP address: no name service has a say in it.
    private static func isAddress(_ host: String) -> Bool {
        if host.hasPrefix("[") { return host.hasSuffix("]") }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
    }

    /// What an answer to a page has to say.
    static func fields(_ verdict: Verdict) -> [(name: String, value: String)] {
        guard case .allowed(let origin, let credentials) = verdict else { return [] }
        var fields = [
            (name: "access-control-allow-origin", value: origin), (name: "vary", value: "origin"),
            (
                name: "access-control-expose-headers",
                value: "grpc-status, grpc-message, grpc-status-details-bin, grpc-encoding"
            ),
        ]
        if credentials { fields.append(("access-control-allow-credentials", "true")) }
        return fields
    }

    /// The answer to a preflight.
    static func preflight(_ verdict: Verdict) -> [(name: String, value: String)] {
        fields(verdict) + [
            ("access-control-allow-methods", "GET, POST"),
            (
                "access-control-allow-headers",
                "authorization, content-type, x-grpc-web, x-user-agent, grpc-timeout, connect-protocol-version, connect-timeout-ms, last-event-id, traceparent, client-id"
            ),
            ("access-control-max-age", "7200"),
        ]
    }
}
