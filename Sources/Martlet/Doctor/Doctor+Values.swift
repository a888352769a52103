// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the doctor looks at values that are possible and probably not meant, and at files that settings name.

import Engine
import Glibc

extension Doctor {
    /// Nobody wants less; whoever writes it meant seconds, hours or days.
    private static let saneMs: [(key: String, leastMs: Int64, value: @Sendable (Configuration) -> Int64)] = [
        ("connections.max.reauth.ms", 10_000, { $0.maxReauthenticationMs }),
        ("log.retention.ms", 60_000, { $0.topicDefaults.retentionMs }),
        ("log.roll.ms", 10_000, { $0.topicDefaults.segmentMs }),
        ("transactional.id.expiration.ms", 60_000, { $0.transactions.idExpirationMs }),
        ("producer.id.expiration.ms", 60_000, { $0.transactions.producerIdExpirationMs }),
    ]

    mutating func examineValues() {
        examineAdvertised()
        for (key, leastMs, value) in Self.saneMs {
            let value = value(configuration)
            // 0 and -1 are "never" and "for ever" where they can be set.
            guard value > 0, value < leastMs else { continue }
            add(
                "tiny-value", .warning, "\(key) is \(value) ms, \(value < 1000 ? "less than a second" : "\(value / 1000) s")",
                setting: key, next: "the time in milliseconds (a day is 86400000)")
        }
        if let file = configuration.tokens.keyFile {
            do throws(BrokerError) {
                _ = try TokenKeys(file)
            } catch {
                add(
                    "file-unreadable", .error, error.description, setting: "sasl.oauthbearer.jwks.endpoint.url",
                    next: "a file with the issuer's JSON Web Key Set")
            }
        }
        examineSuperUsers()
        examineAuditLog()
    }

    private mutating func examineSuperUsers() {
        for user in configuration.superUsers {
            guard let name = SubjectSpelling.corrected(String(user.dropFirst("User:".count))) else { continue }
            add(
                "super-user-spelling", .warning, "no certificate's owner is called \(user): names are compared letter by letter",
                setting: "super.users", next: "User:\(name), if `martlet certs show FILE` calls the subject so")
        }
    }

    private mutating func examineAdvertised() {
        guard let advertise = configuration.advertise else { return }
        if advertise.isLoopback, isReachable {
            add(
                "advertise-loopback", .warning, "clients elsewhere are told to connect to \(advertise), which is their own machine",
                setting: "advertise", next: "the name that they reach this broker by")
        }
        let ports = configuration.listeners.map(\.port)
        if advertise.port == Address.defaultPort, !ports.contains(advertise.port), !ports.contains(0) {
            add(
                "advertise-port", .warning, "clients are told port \(advertise.port), and the broker listens on \(ports[0])",
                setting: "advertise", next: "\(Address(host: advertise.host, port: ports[0])); nothing if the port is translated on the way")
        }
    }

    private mutating func examineAuditLog() {
        guard !["off", "stdout"].contains(configuration.auditLog) else { return }
        let file = absolute(configuration.auditLog)
        let directory = Self.parent(of: file)
        if let status = FileStatus(file) {
            guard status.isDirectory || !FileStatus.allows(file, W_OK) else { return }
            add("audit-log", .error, "\(file) cannot be written", setting: "audit.log", next: "a file that the broker's user may write")
        } else if !FileStatus.allows(directory, W_OK | X_OK) {
            add(
                "audit-log", .error, "\(file) cannot be made: \(FileStatus(directory) == nil ? "there is no directory" : "no permission in") \(directory)",
                setting: "audit.log", next: "a directory that exists and that the broker's user may write in")
        }
    }

    static func parent(of path: String) -> String {
        let parts = path.split(separator: "/").dropLast()
        return parts.isEmpty ? "/" : parts.reduce("") { $0 + "/" + $1 }
    }
}
