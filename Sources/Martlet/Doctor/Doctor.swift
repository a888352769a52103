// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the mistakes of a configuration, before they are an outage: the one list of checks.
//
// Looks at what a broker would be started with, and at the machine it would be started on; changes nothing and needs no
// running broker. Every finding names the setting to change and where it was set. `martlet doctor` prints them all,
// `--check` those that are more than notes, and a broker that starts tells the errors of `examineSettings` in its log.
// A plain value; one pass.

import Bytes
import Glibc

package struct Doctor {
    let configuration: Configuration
    let origins: [String: String]
    let configFile: String?
    let clock: any Clock
    package internal(set) var findings: [DoctorFinding] = []

    package init(_ loader: ConfigurationLoader, clock: any Clock = SystemClock()) {
        configuration = loader.configuration
        origins = loader.origins
        configFile = loader.configFile
        self.clock = clock
        for problem in loader.problems {
            add(DoctorFinding.ofConfiguration, .error, problem.description, next: "correct it; docs/configuration.md has every setting")
        }
        for warning in loader.warnings { add(DoctorFinding.ofConfiguration, .warning, warning, next: "correct or remove it") }
    }

    /// Looks at everything. `passwordFiles`: files with passwords in them that others are given.
    package mutating func examine(passwordFiles: [String] = []) {
        examineSettings()
        examinePasswords(passwordFiles)
        examineListeners()
        examineData()
        examineProcess()
    }

    /// What the start of a broker does not find out by itself.
    mutating func examineSettings() {
        examineFile()
        examineExposure()
        examinePolicy()
        examineCertificates()
        examineValues()
    }

    mutating func add(
        _ id: String, _ severity: DoctorFinding.Severity, _ what: String, setting: String? = nil, next: String
    ) {
        let finding = DoctorFinding(
            id: id, severity: severity, what: what, setting: setting,
            place: setting.map { origins[$0] ?? "default" }, next: next)
        if !findings.contains(finding) { findings.append(finding) }
    }

    /// Something that a running broker, or a look at one, told.
    package mutating func add(_ finding: DoctorFinding) { findings.append(finding) }

    /// 0 all is well, 1 warnings, 2 errors.
    package var status: Int32 {
        if findings.contains(where: { $0.severity == .error }) { return 2 }
        return findings.contains { $0.severity == .warning } ? 1 : 0
    }

    /// Others could change what a broker is started with.
    private mutating func examineFile() {
        guard let configFile, let status = FileStatus(configFile), status.mode & 0o022 != 0 else { return }
        add(
            "config-writable", status.mode & 0o002 != 0 ? .error : .warning,
            "\(configFile) can be changed by \(status.mode & 0o002 != 0 ? "everybody" : "its group") (mode \(status.octal))",
            next: "chmod go-w \(configFile)")
    }

    /// Whether anybody else than this machine can get at a listener.
    var isReachable: Bool { configuration.listeners.contains { !$0.isLoopback } }

    private mutating func examineExposure() {
        for policy in configuration.listenerPolicies {
            examineLogins(policy)
            if !policy.address.isLoopback { examineExposure(of: policy) }
        }
        if configuration.allowsEveryoneWithoutRule, isReachable {
            add(
                "open-without-rules", .warning, "whoever may connect may do whatever no access rule speaks of",
                setting: "allow.everyone.if.no.acl.found", next: "false")
        }
        if configuration.tlsVersion == .tls12 {
            add("old-tls", .note, "TLS 1.2 is spoken too", setting: "tls.min.version", next: "1.3, once no client needs it")
        }
        if configuration.corsAllowedOrigins.contains("*") {
            add("any-web-page", .warning, "every web page may use the broker", setting: "cors.allowed.origins", next: "the origins of your pages")
        }
        if configuration.effectiveDurability != .disk {
            add(
                "not-durable", .warning, "acknowledged records do not survive a power cut",
                setting: configuration.isEphemeral ? "ephemeral" : "durability", next: configuration.isEphemeral ? "false" : "disk")
        }
    }
}

/// What the file system says of a path.
struct FileStatus {
    let mode: mode_t
    let owner: uid_t
    let isDirectory: Bool
    /// Milliseconds since the Unix epoch.
    let modifiedMs: Int64

    init?(_ path: String) {
        var status = stat()
        // SAFETY: `status` is a live local; the path is a C string for the duration of the call.
        guard unsafe stat(path, &status) == 0 else { return nil }
        mode = status.st_mode & 0o7777
        owner = status.st_uid
        isDirectory = status.st_mode & S_IFMT == S_IFDIR
        modifiedMs = Int64(status.st_mtim.tv_sec) * 1000
    }

    var octal: String { "0" + String(mode, radix: 8) }

    /// Whether this process may do what `mode` says (R_OK, W_OK, X_OK).
    static func allows(_ path: String, _ mode: Int32) -> Bool {
        // SAFETY: the path is a C string for the duration of the call.
        unsafe access(path, mode) == 0
    }
}
