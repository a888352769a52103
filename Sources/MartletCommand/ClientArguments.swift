// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: the flags of every command that talks to a broker.

import ArgumentParser
import Client
import Records

/// Where the broker is, and who calls.
struct ClientArguments: ParsableArguments {
    @Option(
        name: .customLong("bootstrap"),
        help: ArgumentHelp("The broker's address.", valueName: "host:port"))
    var bootstrap = "127.0.0.1:9092"

    @Option(
        help: ArgumentHelp("CA certificates to check the broker with (PEM).", valueName: "file"))
    var ca: String?

    @Option(help: ArgumentHelp("The client's certificate (PEM).", valueName: "file"))
    var cert: String?

    @Option(help: ArgumentHelp("The client's private key (PEM).", valueName: "file"))
    var key: String?

    @Flag(help: "Use TLS with the machine's CA certificates. Implied by --ca and --cert.")
    var tls = false

    @Option(
        help: ArgumentHelp("Log in as this user, with a password (SASL, or authorization: Basic).", valueName: "name"))
    var user: String?

    @Option(
        help: ArgumentHelp("Where --user's password is, `-` for standard input; asked for if not given.", valueName: "file"))
    var userPasswordFile: String?

    func validate() throws {
        guard user != nil || userPasswordFile == nil else {
            throw ValidationError("--user-password-file needs --user")
        }
        guard (cert == nil) == (key == nil) else {
            throw ValidationError("--cert and --key belong together: name both files")
        }
        do {
            _ = try Endpoint(bootstrap)
        } catch {
            throw ValidationError("--bootstrap: \(error.message)")
        }
    }

    /// What the flags say.
    func options() throws -> ConnectionOptions {
        var options = ConnectionOptions(endpoint: try Endpoint(bootstrap))
        if tls || ca != nil || cert != nil {
            options.certificates = CertificateFiles(authority: ca, certificate: cert, key: key)
        }
        if let user {
            options.login = LoginName(
                user: user, password: try Password.read(from: userPasswordFile, asking: "Password of \(user): "))
        }
        return options
    }
}

/// `--compression`.
enum CompressionArgument: String, ExpressibleByArgument, CaseIterable {
    case none, gzip, snappy, lz4, zstd

    var type: CompressionType {
        switch self {
        case .none: .none
        case .gzip: .gzip
        case .snappy: .snappy
        case .lz4: .lz4
        case .zstd: .zstd
        }
    }
}

/// `--acks`.
enum AcksArgument: String, ExpressibleByArgument, CaseIterable {
    case all
    case leader = "1"
    case none = "0"

    /// As Kafka's Produce has it.
    var number: Int16 {
        switch self {
        case .all: -1
        case .leader: 1
        case .none: 0
        }
    }
}

/// What a person typed is wrong: usage errors have an exit status of their own.
func checked<Value>(_ body: () throws(ClientError) -> Value) throws -> Value {
    do {
        return try body()
    } catch  where error.code == .invalidArgument {
        throw CommandError(error.message, isUsage: true)
    }
}
