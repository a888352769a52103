// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: every finding of the doctor, with the setting it names and where that was set.

import Bytes
import Glibc
import Testing
import Transport

@testable import Martlet

/// A directory with a configuration file in it that a doctor looks at.
private final class Patient {
    let directory: String

    init() throws {
        var template = Array("/tmp/martlet-doctor-XXXXXX".utf8CString)
        // SAFETY: the array is live and NUL-terminated.
        _ = unsafe template.withUnsafeMutableBufferPointer { unsafe mkdtemp($0.baseAddress!) }
        directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        make("data", mode: 0o700)
    }

    deinit {
        // SAFETY: the command is a C string for the duration of the call.
        _ = unsafe system("rm -rf \(directory)")
    }

    func make(_ name: String, mode: mode_t) {
        _ = unsafe mkdir("\(directory)/\(name)", 0o700)
        _ = unsafe chmod("\(directory)/\(name)", mode)
    }

    func write(_ name: String, _ text: String, mode: mode_t = 0o600) throws -> String {
        try TextFile.replace("\(directory)/\(name)", with: text)
        _ = unsafe chmod("\(directory)/\(name)", mode)
        return "\(directory)/\(name)"
    }

    /// What a doctor finds with these lines in the file; `port 0` and directories of its own are given as flags.
    func findings(
        _ lines: String, passwords: [String] = [], clock: any Clock = SystemClock(), data: String? = nil, mode: mode_t = 0o600
    ) throws -> [DoctorFinding] {
        let file = try write("martlet.yaml", lines, mode: mode)
        let loader = ConfigurationLoader.load(
            defaults: .production,
            arguments: ["--config", file, "--port", "0", "--data", data ?? directory + "/data", "--certs", directory + "/certs"],
            environment: [])
        var doctor = Doctor(loader, clock: clock)
        doctor.examine(passwordFiles: passwords)
        return doctor.findings
    }

    func finding(_ id: String, _ lines: String, passwords: [String] = [], mode: mode_t = 0o600) throws -> DoctorFinding {
        let found = try findings(lines, passwords: passwords, mode: mode)
        return try #require(found.first { $0.id == id }, "\(id) is not among \(found.map(\.id))")
    }
}

@Suite struct DoctorTests {
    @Test func `Nothing is wrong with the defaults in a directory of one's own`() throws {
        let found = try Patient().findings("")
        #expect(found.filter { $0.severity != .note } == [])
    }

    @Test(arguments: [
        ("plaintext-exposed", DoctorFinding.Severity.error, "plaintext", 2, "listen: 0.0.0.0:9092\nplaintext: anywhere\n"),
        ("password-in-plaintext", .error, "sasl.enabled.mechanisms", 3,
            "listen: 0.0.0.0:9092\nplaintext: anywhere\nsasl.enabled.mechanisms: PLAIN\n"),
        ("nobody-is-asked", .error, "tls.client.auth", 2, "listen: 0.0.0.0:9092\ntls.client.auth: none\n"),
        ("login-needs-certificate", .warning, "tls.client.auth", 2,
            "listen: 0.0.0.0:9092\ntls.client.auth: required\nsasl.enabled.mechanisms: PLAIN\n"),
        ("login-needs-certificate", .warning, "listener.name.a.sasl.enabled.mechanisms", 2,
            "listen: [127.0.0.1:1, a://0.0.0.0:9092]\nlistener.name.a.sasl.enabled.mechanisms: PLAIN\n"),
        ("tiny-value", .warning, "connections.max.reauth.ms", 1, "connections.max.reauth.ms: 60\n"),
        ("tiny-value", .warning, "log.retention.ms", 1, "log.retention.ms: 7\n"),
        ("super-user-spelling", .warning, "super.users", 1, "super.users: 'User:ann;User:CN=root, O=Example'\n"),
        ("advertise-loopback", .warning, "advertise", 2, "listen: 0.0.0.0:9092\nadvertise: localhost:9092\n"),
        ("audit-log", .error, "audit.log", 1, "audit.log: /nowhere/at/all/audit.log\n"),
        ("file-unreadable", .error, "sasl.oauthbearer.jwks.endpoint.url", 1, "sasl.oauthbearer.jwks.endpoint.url: file:///nowhere.json\n"),
        ("file-unreadable", .error, "ssl.crl.location", 1, "ssl.crl.location: /nowhere.crl\n"),
        ("open-without-rules", .warning, "allow.everyone.if.no.acl.found", 2,
            "listen: 0.0.0.0:9092\nallow.everyone.if.no.acl.found: true\n"),
        ("old-tls", .note, "tls.min.version", 1, "tls.min.version: '1.2'\n"),
        ("any-web-page", .warning, "cors.allowed.origins", 1, "cors.allowed.origins: '*'\n"),
        ("not-durable", .warning, "durability", 1, "durability: os\n"),
        ("not-durable", .warning, "ephemeral", 1, "ephemeral: true\n"),
        ("descriptors", .warning, "max.connections", 1, "max.connections: 1000000\n"),
        ("plaintext-exposed", .error, "listener.name.a.plaintext", 2, "listen: a://0.0.0.0:9092\nlistener.name.a.plaintext: anywhere\n"),
        ("plaintext-exposed", .error, "plaintext", 2, "listen: 'a://0.0.0.0:9092'\nplaintext: anywhere\n"),
        ("nobody-is-asked", .error, "listener.name.a.tls.client.auth", 2,
            "listen: [127.0.0.1:1, a://0.0.0.0:9092]\nlistener.name.a.tls.client.auth: none\n"),
        ("nobody-is-asked", .error, "listener.name.a.sasl.enabled.mechanisms", 4,
            "listen: [127.0.0.1:1, a://0.0.0.0:9092]\ntls.client.auth: requested\nsasl.enabled.mechanisms: SCRAM-SHA-256\n"
                + "listener.name.a.sasl.enabled.mechanisms: none\n"),
        ("nobody-is-asked", .error, "listener.name.a.tls.client.auth", 2,
            "listen: a://0.0.0.0:9092\nlistener.name.a: { tls.client.auth: none, sasl.enabled.mechanisms: none }\n"),
        ("login-not-needed", .note, "sasl.required", 2, "sasl.enabled.mechanisms: PLAIN\nsasl.required: without-certificate\n"),
        ("no-such-address", .error, "listen", 1, "listen: no.such.host.invalid:0\n"),
        ("advertise-unresolvable", .warning, "advertise", 1, "advertise: no.such.host.invalid:9092\n"),
        ("ready-file", .error, "ready.file", 1, "ready.file: /nowhere/at/all/ready.json\n"),
    ])
    func `A setting that should be another one is named with its line`(
        id: String, severity: DoctorFinding.Severity, setting: String, line: Int, text: String
    ) throws {
        let patient = try Patient()
        let finding = try patient.finding(id, text)
        #expect(finding.severity == severity)
        #expect(finding.setting == setting)
        #expect(finding.place == "\(patient.directory)/martlet.yaml:\(line)")
        #expect(!finding.next.isEmpty)
    }

    @Test func `What is safe on this machine alone is no finding`() throws {
        let found = try Patient().findings("plaintext: anywhere\ntls.client.auth: none\nallow.everyone.if.no.acl.found: true\n")
        #expect(found.allSatisfy { $0.severity == .note }, "\(found)")
    }

    @Test func `Every mistake of the file is found, not the first alone`() throws {
        let found = try Patient().findings("lisen: x\nport: many\nplaintext: maybe\ntls.cert: a.pem\n")
            .filter { $0.id == "configuration" }.map(\.what)
        #expect(found.count == 5, "\(found)")
        #expect(found[0].contains("unknown key `lisen` at ") && found[0].contains(":1"))
        #expect(found[1].contains(":2 must be") && found[2].contains(":3 must be"))
    }

    @Test func `A file that others may change`() throws {
        #expect(try Patient().finding("config-writable", "", mode: 0o666).severity == .error)
        #expect(try Patient().finding("config-writable", "", mode: 0o660).severity == .warning)
    }

    @Test func `Certificate files: each finding is for the setting that names the file`() throws {
        let patient = try Patient()
        let files = try DevelopmentCertificates.ensure(directory: patient.directory + "/own")
        let lines = { (cert: String, key: String, ca: String) in
            "listen: broker.example.org:9092\ntls.cert: \(cert)\ntls.key: \(key)\ntls.ca: \(ca)\n"
        }
        let good = lines(files.serverCertificateFile, files.serverKeyFile, files.authorityFile)
        #expect(try patient.finding("name-not-covered", good).setting == "tls.cert")
        #expect(try patient.finding("key-mismatch", lines(files.serverCertificateFile, files.clientKeyFile, files.authorityFile)).place?.hasSuffix(":3") == true)
        #expect(try patient.finding("wrong-usage", lines(files.clientCertificateFile, files.clientKeyFile, files.authorityFile)).severity == .error)
        let missing = try patient.finding("file-unreadable", lines(files.serverCertificateFile, files.serverKeyFile, "/nowhere.pem"))
        #expect(missing.setting == "tls.ca" && missing.place?.hasSuffix(":4") == true)
        _ = unsafe chmod(files.serverKeyFile, 0o644)
        #expect(try patient.finding("key-readable-by-others", good).setting == "tls.key")
        let other = try CertificateAuthority.mint(commonName: "another")
        let ca = try patient.write("other.pem", String(decoding: other.minted.certificatePEM, as: UTF8.self))
        #expect(try patient.finding("chain-incomplete", lines(files.serverCertificateFile, files.serverKeyFile, ca)).severity == .warning)
        let late = ManualClock(nowMs: SystemClock().nowMs() + 8 * 86_400_000)
        #expect(try patient.findings(good, clock: late).contains { $0.id == "certificate-expired" && $0.severity == .error })
        let soon = ManualClock(nowMs: SystemClock().nowMs() + 6 * 86_400_000)
        #expect(try patient.findings(good, clock: soon).contains { $0.id == "certificate-expires-soon" && $0.severity == .warning })
    }

    @Test func `Relative paths count from where the broker is started`() throws {
        let patient = try Patient()
        _ = try DevelopmentCertificates.ensure(directory: patient.directory + "/own")
        let found = try patient.findings("tls.cert: own/server.pem\ntls.key: own/server.key\ntls.ca: none/ca.pem\n").filter { $0.id == "file-unreadable" }
        #expect(found.map(\.setting) == ["tls.cert", "tls.key", "tls.ca"], "\(found)")
        #expect(found.dropLast().allSatisfy { $0.next.hasPrefix(patient.directory + "/own/server.") }, "\(found)")
        #expect(found.last?.what.contains("no such file in /") == true && found.last?.next.contains("counts from where") == true)
    }

    @Test func `A directory for certificates that cannot be made, or is a file`() throws {
        let patient = try Patient()
        let file = try patient.write("file", "")
        func found(_ directory: String) -> [DoctorFinding] {
            let loader = ConfigurationLoader.load(defaults: .production, arguments: ["--certs", directory], environment: [])
            var doctor = Doctor(loader)
            doctor.examineCertificates()
            return doctor.findings
        }
        for directory in [file, file + "/below", "/proc/self/certs"] {
            let found = found(directory)
            #expect(found.map(\.id) == ["certs-unusable"] && found[0].severity == .error && found[0].place == "--certs", "\(found)")
        }
        #expect(found(patient.directory + "/a/b").map(\.id) == ["no-certificates-yet"])
    }

    @Test func `The broker's own authority: its key is nobody else's`() throws {
        let patient = try Patient()
        #expect(try patient.finding("no-certificates-yet", "").severity == .note)
        let files = try DevelopmentCertificates.ensure(directory: patient.directory + "/certs")
        #expect(try patient.finding("own-authority", "listen: 0.0.0.0:9092\n").severity == .note)
        _ = unsafe chmod(files.authorityKeyFile, 0o640)
        #expect(try patient.finding("key-readable-by-others", "").next == "chmod 0600 \(files.authorityKeyFile)")
    }

    @Test func `Passwords: default, weak, read by others, missing; and never shown`() throws {
        let patient = try Patient()
        let bad = try patient.write("bad", "changeit\n"), weak = try patient.write("weak", "xY7-Qr\n")
        let open = try patient.write("open", "Zq8-vN3~kT6.wB1+\n", mode: 0o644)
        let group = try patient.write("group", "Zq8-vN3~kT6.wB1+\n", mode: 0o640)
        func ids(_ file: String) throws -> [DoctorFinding] {
            try patient.findings("", passwords: [file]).filter { $0.severity != .note }
        }
        #expect(try ids(bad).map(\.id) == ["default-password"])
        #expect(try ids(weak).map(\.id) == ["weak-password"])
        #expect(try ids(open).map(\.severity) == [.error] && ids(open)[0].id == "password-readable-by-others")
        #expect(try ids(group).map(\.severity) == [.warning])
        #expect(try ids(patient.directory + "/none").map(\.id) == ["file-unreadable"])
        for file in [bad, weak, open] {
            #expect(try ids(file).allSatisfy { !$0.text.contains("changeit") && !$0.text.contains("xY7") && !$0.text.contains("Zq8") })
        }
    }

    @Test func `The data directory: a file, missing, open to all, from the future`() throws {
        let patient = try Patient()
        let file = try patient.write("file", "")
        #expect(try patient.findings("", data: file).contains { $0.id == "data-unusable" && $0.setting == "data" && $0.place == "--data" })
        #expect(try patient.findings("", data: patient.directory + "/later").contains { $0.id == "no-data-yet" })
        #expect(try patient.findings("", data: patient.directory + "/a/b").contains { $0.id == "data-unusable" })
        patient.make("data", mode: 0o755)
        #expect(try patient.finding("data-readable-by-others", "").severity == .warning)
        patient.make("data", mode: 0o777)
        #expect(try patient.finding("data-readable-by-others", "").severity == .error)
        patient.make("data", mode: 0o700)
        let behind = ManualClock(nowMs: SystemClock().nowMs() - 3_600_000)
        #expect(try patient.findings("", clock: behind).contains { $0.id == "clock" && $0.severity == .warning })
    }

    @Test func `The data directory: Kafka's, and one of a newer format`() throws {
        let patient = try Patient()
        _ = try patient.write("data/meta.properties", "version=1\n")
        let kafka = try patient.finding("data-unusable", "")
        #expect(kafka.severity == .error && kafka.what.contains("Apache Kafka") && kafka.setting == "data")
        _ = try patient.write("data/martlet.properties", "version=99\ncluster.id=x\n")
        #expect(try patient.finding("data-unusable", "").what.contains("format 99"))
    }

    @Test func `A port that clients are told and nobody listens on`() throws {
        let lines = "listen: 0.0.0.0:19092\nadvertise: broker.example.org\n"
        func ids(_ lines: String) -> [String] {
            var loader = ConfigurationLoader(.production)
            try? loader.readYAML(lines, name: "m.yaml")
            var doctor = Doctor(loader)
            doctor.examineValues()
            return doctor.findings.map(\.id)
        }
        #expect(ids(lines) == ["advertise-port"])
        #expect(ids(lines.dropLast() + ":19092\n") == [])
        #expect(ids("connections.max.reauth.ms: 0\nlog.retention.ms: -1\n") == [])
    }

    @Test func `A key of an authority beside the broker's own files`() throws {
        let patient = try Patient()
        let files = try DevelopmentCertificates.ensure(directory: patient.directory + "/own")
        _ = unsafe chmod(files.authorityKeyFile, 0o777)
        let found = try patient.finding(
            "key-readable-by-others",
            "tls.cert: \(files.serverCertificateFile)\ntls.key: \(files.serverKeyFile)\ntls.ca: \(files.authorityFile)\n")
        #expect(found.what.contains("changed by others") && found.next == "chmod 0600 \(files.authorityKeyFile)")
    }

    @Test func `The check finds what the doctor finds, notes aside`() throws {
        let patient = try Patient()
        let files = try DevelopmentCertificates.ensure(directory: patient.directory + "/own")
        let file = try patient.write(
            "m.yaml", "tls.cert: \(files.clientCertificateFile)\ntls.key: \(files.clientKeyFile)\ntls.ca: \(files.authorityFile)\n")
        let loader = ConfigurationLoader.load(
            defaults: .production, arguments: ["--config", file, "--port", "0", "--max-connections", "10", "--data", patient.directory + "/data"],
            environment: [])
        var doctor = Doctor(loader)
        doctor.examine()
        let found = ConfigurationCheck.findings(loader)
        #expect(found == doctor.findings.filter { $0.severity != .note } && found.map(\.id) == ["wrong-usage"])
        #expect(found[0].line.hasSuffix("; tls.cert (\(file):1): issue one with the usage serverAuth"))
        #expect(ConfigurationCheck.errorsAtStart(loader) == found.map(\.line))
    }

    @Test func `The token of an external policy: unusable, readable by others, sent in plaintext, for nobody`() throws {
        let patient = try Patient()
        let good = try patient.write("token", "abc.def-ghi\n"), empty = try patient.write("empty", "\n")
        let two = try patient.write("two", "abc def\n")
        let here = "authorizer.opa.url: http://127.0.0.1:8181/\nauthorizer.opa.token.file: "
        #expect(try patient.findings(here + good).allSatisfy { !$0.id.hasPrefix("policy-") })
        for file in [empty, two, "/nowhere/token"] {
            let finding = try patient.finding("policy-token-unusable", here + file)
            #expect(finding.severity == .error && finding.setting == "authorizer.opa.token.file" && !finding.what.contains("abc"))
        }
        let group = try patient.write("group", "abc\n", mode: 0o640), all = try patient.write("all", "abc\n", mode: 0o644)
        #expect(try patient.finding("policy-token-readable-by-others", here + group).severity == .warning)
        #expect(try patient.finding("policy-token-readable-by-others", here + all).severity == .error)
        let far = "authorizer.opa.url: http://policy.example/\nauthorizer.opa.token.file: \(good)\n"
        #expect(try patient.finding("policy-token-in-plaintext", far).severity == .error)
        let unused = try patient.finding("policy-not-used", "authorizer.opa.token.file: \(good)\n")
        #expect(unused.what.contains("authorizer.opa.token.file") && unused.severity == .note)
    }

    @Test func `The disk: less than a segment is a warning`() throws {
        let lines = "log.segment.bytes: 2147483647\n"
        let patient = try Patient()
        var status = statvfs()
        // SAFETY: a live local, a C string for the duration of the call.
        _ = unsafe statvfs(patient.directory, &status)
        let available = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        #expect(try patient.findings(lines).contains { $0.id == "disk-full" } == (available < 2_147_483_647))
    }

    @Test func `Addresses: in use, not of this machine`() throws {
        let patient = try Patient()
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        // SAFETY: the address is live for the calls and its size is passed.
        unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                _ = unsafe bind(descriptor, pointer, size)
                _ = unsafe getsockname(descriptor, pointer, &size)
            }
        }
        listen(descriptor, 1)
        let port = UInt16(bigEndian: address.sin_port)
        func found(_ address: String) throws -> [DoctorFinding] {
            let loader = ConfigurationLoader.load(
                defaults: .production, arguments: ["--listen", address, "--data", patient.directory + "/data"], environment: [])
            var doctor = Doctor(loader)
            doctor.examineListeners()
            return doctor.findings
        }
        let inUse = try found("127.0.0.1:\(port)")
        #expect(inUse.map(\.id) == ["port-in-use"] && inUse[0].setting == "listen" && inUse[0].place == "--listen")
        #expect(try found("192.0.2.1:9092").map(\.id) == ["no-such-address"])
    }

    @Test func `The status is that of the worst finding`() throws {
        var doctor = Doctor(ConfigurationLoader(.production))
        #expect(doctor.status == 0)
        doctor.add(DoctorFinding(id: "a", severity: .note, what: "x", next: "y"))
        #expect(doctor.status == 0)
        doctor.add(DoctorFinding(id: "a", severity: .warning, what: "x", next: "y"))
        #expect(doctor.status == 1)
        doctor.add(DoctorFinding(id: "a", severity: .error, what: "x\n\u{1b}[2J", setting: "data", place: "m.yaml:3", next: "y"))
        #expect(doctor.status == 2)
        #expect(doctor.findings[2].text == "error a: x\\n\\u001b[2J\n  next: data (m.yaml:3): y")
        #expect(doctor.findings[2].json == "{\"id\":\"a\",\"severity\":\"error\",\"what\":\"x\\n\\u001b[2J\",\"setting\":\"data\",\"place\":\"m.yaml:3\",\"next\":\"y\"}")
    }
}
