// SPDX-License-Identifier: Apache-2.0
// Martlet, PolicyClient: the address of an external policy: `http://host:port/path`, `https://…`, and for a socket of this
// machine `http://unix:/run/opa.sock:/path`, as nginx writes it.

/// Where a policy is asked.
package struct PolicyAddress: Equatable, Sendable, CustomStringConvertible {
    package enum Place: Equatable, Sendable {
        case host(String, port: Int)
        case socket(path: String)
    }

    package let place: Place
    package let isTLS: Bool
    /// With the query, if there is one.
    package let path: String
    package let description: String

    /// nil: it is none of the forms above.
    package init?(_ text: String) {
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }), let scheme = text.firstRange(of: "://") else { return nil }
        switch text[..<scheme.lowerBound].lowercased() {
        case "http": isTLS = false
        case "https": isTLS = true
        default: return nil
        }
        let rest = text[scheme.upperBound...]
        description = text
        if rest.hasPrefix("unix:") {
            let parts = rest.dropFirst("unix:".count).split(separator: ":", maxSplits: 1)
            guard !isTLS, parts.count == 2, parts[0].hasPrefix("/"), parts[1].hasPrefix("/"), parts[0].utf8.count < 108 else {
                return nil
            }
            place = .socket(path: String(parts[0]))
            path = String(parts[1])
            return
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        guard let place = Self.place(rest[..<slash], isTLS: isTLS), !rest.contains("#") else { return nil }
        self.place = place
        path = slash == rest.endIndex ? "/" : String(rest[slash...])
    }

    private static func place(_ authority: Substring, isTLS: Bool) -> Place? {
        // A password in an address would be in every log.
        guard !authority.contains("@"), !authority.contains("?") else { return nil }
        var host = authority
        var port = isTLS ? 443 : 80
        let hasPort = authority.last != "]"
        if hasPort, let colon = authority.lastIndex(of: ":") {
            guard let number = Int(authority[authority.index(after: colon)...]), (1...65_535).contains(number) else { return nil }
            port = number
            host = authority[..<colon]
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() } else if host.contains(":") { return nil }
        return host.isEmpty ? nil : .host(String(host), port: port)
    }

    /// What the request says that it is for.
    var hostField: String {
        switch place {
        case .socket: "localhost"
        case .host(let host, let port):
            (host.contains(":") ? "[\(host)]" : host) + (port == (isTLS ? 443 : 80) ? "" : ":\(port)")
        }
    }
}
