// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet doctor`.

import ArgumentParser
import Bytes
import Client
import Martlet
import Telemetry
import Transport

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Find mistakes in a configuration before they are an outage.",
        usage: "martlet doctor [--config <file>] [--connect <host:port> | --running] [--json] [<settings>]",
        discussion: """
            Takes what `martlet serve` takes (`--config`, settings as flags, variables)
            and checks it with the files and the machine it would run on: files and
            their modes, keys and certificates, names, chains, dates, weak parameters,
            what is open to whom, passwords, the clock, disk space, limits, the data
            directory. Each finding names the setting to change and where it was set.
            With --connect it asks a running broker too. --running asks the one on this
            machine and nothing else, without network, certificate or login, by the socket
            in its data directory (--data, or what --ready-file says), as the broker's
            user: a health check, whatever its listeners take.

            The status is 0 if all is well, 1 with warnings, 2 with errors.

              martlet doctor --config /etc/martlet/martlet.yaml
              martlet doctor --connect broker:9092 --ca ca.pem --cert me.pem --key me.key
              martlet doctor --running --data /var/lib/martlet/data
            """)

    @Option(help: ArgumentHelp("A broker to ask.", valueName: "host:port"))
    var connect: String?

    @Flag(help: "Ask the broker that runs on this machine, and look at nothing else.")
    var running = false

    @Option(help: ArgumentHelp("With --connect: CA certificates to check that broker with (PEM).", valueName: "file"))
    var ca: String?

    @Option(help: ArgumentHelp("With --connect: the client's certificate (PEM).", valueName: "file"))
    var cert: String?

    @Option(help: ArgumentHelp("With --connect: the client's private key (PEM).", valueName: "file"))
    var key: String?

    @Option(name: .customLong("password-file"), help: ArgumentHelp("A file with a password in it to look at; may be repeated.", valueName: "file"))
    var passwordFiles: [String] = []

    @Flag(help: "Judge by the defaults of `martlet dev`.")
    var dev = false

    @Flag(help: "Print one JSON object.")
    var json = false

    /// As in `DevCommand`.
    @Argument(parsing: .allUnrecognized, help: .hidden)
    var settings: [String] = []

    func validate() throws {
        guard !running || (connect == nil && passwordFiles.isEmpty) else {
            throw ValidationError("--running asks a broker and does nothing else; use it without --connect and --password-file")
        }
        guard (cert == nil) == (key == nil) else { throw ValidationError("--cert and --key belong together: name both files") }
        guard connect != nil || (ca == nil && cert == nil) else {
            throw ValidationError("--ca, --cert and --key are for --connect; the broker's own are tls.ca, tls.cert and tls.key")
        }
    }

    func run() async throws {
        let loader = ConfigurationLoader.load(
            defaults: dev ? .development : .production, arguments: settings, environment: Environment.variables)
        if let usage = loader.problems.first(where: \.isUsage) { throw usage }
        var doctor = Doctor(loader)
        if running {
            RunningBroker.ask(loader.configuration, &doctor)
        } else {
            // A mere question to a broker elsewhere says nothing about this machine.
            if connect == nil || loader.configFile != nil || !settings.isEmpty { doctor.examine(passwordFiles: passwordFiles) }
            if let connect { await ask(connect, &doctor) }
        }
        Terminal.print(json ? Self.json(doctor) : Self.text(doctor))
        if doctor.status != 0 { throw ExitCode(doctor.status) }
    }

    private func ask(_ text: String, _ doctor: inout Doctor) async {
        do {
            var options = ConnectionOptions(endpoint: try checked { () throws(ClientError) in try Endpoint(text) })
            options.requestTimeoutMs = 10_000
            if ca != nil || cert != nil {
                options.certificates = CertificateFiles(authority: ca, certificate: cert, key: key)
            }
            let before = SystemClock().nowMs()
            let probe = try await HTTPProbe.get("/readyz", options)
            BrokerAnswer(probe, askedMs: before, answeredMs: SystemClock().nowMs()).report("at \(text)", to: &doctor)
        } catch {
            doctor.add(
                DoctorFinding(
                    id: "cannot-connect", severity: .error, what: "\(error)",
                    next: ca == nil ? "if the broker wants TLS: --ca, --cert and --key" : "the broker's log says why it refused"))
        }
    }

    private static func text(_ doctor: Doctor) -> String {
        let counts = DoctorFinding.Severity.allCases.map { severity in
            let count = doctor.findings.count { $0.severity == severity }
            return "\(count) \(severity.rawValue)\(count == 1 ? "" : "s")"
        }
        return (doctor.findings.map(\.text) + [counts.joined(separator: ", ")]).joined(separator: "\n")
    }

    private static func json(_ doctor: Doctor) -> String {
        "{\"status\":\(doctor.status),\"findings\":[\(doctor.findings.map(\.json).joined(separator: ","))]}"
    }
}
