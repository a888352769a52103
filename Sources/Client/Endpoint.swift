// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: where a broker listens, as people write it.

/// A host name or address, and a port.
package struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    package var host: String
    package var port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `host:port`, `host` (port 9092) or `[::1]:port`. Of a list, `a:1,b:2`, the first
    /// counts.
    package init(_ text: String) throws(ClientError) {
        let first = text.split(separator: ",", maxSplits: 1).first ?? ""
        var host = String(first)
        var port = 9092
        if first.first == "[", let close = first.firstIndex(of: "]") {
            host = String(first[first.index(after: first.startIndex)..<close])
            port = try Self.port(first[first.index(after: close)...], in: text) ?? port
        } else if let colon = first.firstIndex(of: ":"), first.lastIndex(of: ":") == colon {
            host = String(first[..<colon])
            port = try Self.port(first[colon...], in: text) ?? port
        }
        guard !host.isEmpty else {
            throw ClientError(.invalidArgument, "'\(text)' names no host: write host:port")
        }
        self.init(host: host, port: port)
    }

    /// The number of `:9092`; nil for nothing.
    private static func port(_ text: Substring, in whole: String) throws(ClientError) -> Int? {
        guard !text.isEmpty else { return nil }
        guard text.first == ":", let port = Int(text.dropFirst()), (1...65535).contains(port) else {
            throw ClientError(
                .invalidArgument, "'\(whole)' has no port from 1 to 65535: write host:port")
        }
        return port
    }

    package var description: String {
        host.contains(":" as Character) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
