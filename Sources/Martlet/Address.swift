// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: a host and a port, as people write them.

/// Where a broker listens or can be reached: `127.0.0.1:9092`, `[::1]:9092`, `broker.example.org:9092`.
public struct Address: Hashable, Sendable, CustomStringConvertible {
    /// The port of Kafka, used where none is given.
    public static let defaultPort = 9092

    /// A name or a numeric address, without brackets; `*` is every address of the machine.
    public var host: String
    /// 0 lets the system choose a free port.
    public var port: Int
    /// The name of a listener that has one, in lower case: letters and digits.
    public var name: String?

    public init(host: String, port: Int = defaultPort, name: String? = nil) {
        self.host = host
        self.port = port
        self.name = name
    }

    /// Reads `host:port`, `[v6]:port`, `host`, `:port` (all interfaces); nil if it is none of these.
    public init?(_ text: String) {
        guard let (host, port) = Self.split(text) else { return nil }
        guard let port else {
            guard !host.isEmpty else { return nil }
            self.init(host: host)
            return
        }
        guard let number = Int(port), (0...65_535).contains(number), port.first != "+" else { return nil }
        self.init(host: host.isEmpty ? "*" : host, port: number)
    }

    private static func split(_ text: String) -> (host: String, port: String?)? {
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") }) else { return nil }
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            let host = String(text[text.index(after: text.startIndex)..<end])
            let rest = text[text.index(after: end)...]
            guard host.contains(":" as Character) else { return nil }
            if rest.isEmpty { return (host, nil) }
            return rest.first == ":" ? (host, String(rest.dropFirst())) : nil
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        switch parts.count {
        case 1: return (parts[0], nil)
        case 2: return (parts[0], parts[1])
        default: return (text, nil)  // an IPv6 address without brackets and so without a port
        }
    }

    /// Whether only this machine can reach it.
    public var isLoopback: Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    /// Whether it is every address of the machine, and so none that a client could use.
    var isEverywhere: Bool { ["*", "0.0.0.0", "::", ""].contains(host) }

    public var description: String {
        host.contains(":" as Character) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
