// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: what a running broker says of itself (`/readyz`), read for the doctor.

import Bytes
import Client
import Martlet
import Telemetry
import Transport

struct BrokerAnswer {
    /// nil: it was asked without network.
    private let probe: HTTPProbe?
    /// nil: it is no answer of a broker that takes the connection.
    private let answer: JSONValue?
    private let askedMs: Int64
    private let answeredMs: Int64

    init(_ probe: HTTPProbe, askedMs: Int64, answeredMs: Int64) {
        self.probe = probe
        answer = [200, 503].contains(probe.status) ? JSONValue(probe.body) : nil
        self.askedMs = askedMs
        self.answeredMs = answeredMs
    }

    /// What one on this machine said, by the same clock.
    init(_ answer: JSONValue) {
        probe = nil
        self.answer = answer
        (askedMs, answeredMs) = (.min, .max)
    }

    /// `place`: where the broker is, as in "the broker at 127.0.0.1:9092".
    func report(_ place: String, to doctor: inout Doctor) {
        func add(_ id: String, _ severity: DoctorFinding.Severity, _ what: String, _ next: String) {
            doctor.add(DoctorFinding(id: id, severity: severity, what: what, next: next))
        }
        guard let answer, let isReady = answer["ready"] else { return doctor.add(refusal(place)) }
        if isReady == .bool(false) { add("not-ready", .error, "the broker \(place) takes no work", "what follows says why") }
        func list(_ key: String) -> [JSONValue] { answer[key]?.elements ?? [] }
        for problem in list("problems").compactMap(\.text) { add("broker-problem", .error, problem, "as it says") }
        for log in list("failedLogs") {
            let what = "\(log["log"]?.text ?? ""): \(log["reason"]?.text ?? "")"
            add("broker-problem", .error, what, "look into the broker's log, and restart it")
        }
        for warning in list("warnings").compactMap(\.text) { add("broker-warning", .warning, warning, "as it says") }
        // Half of the way is at most what the answer took.
        if let time = answer["time"]?.text.flatMap(Timestamp.milliseconds) {
            let skew = time < askedMs ? time - askedMs : max(0, time - answeredMs)
            if abs(skew) > 5000 {
                add(
                    "clock", abs(skew) > 300_000 ? .error : .warning,
                    "the broker's clock is \(abs(skew) / 1000) s \(skew < 0 ? "behind" : "ahead of") this machine's",
                    "set both right (timedatectl, chrony)")
            }
        }
        guard let probe else { return }
        if let handshake = probe.handshake {
            add(
                "tls", .note, "\(handshake.version), \(handshake.cipher), \(handshake.peerCertificate?.subject ?? "")",
                "nothing")
        } else {
            add("plaintext", .note, "the broker \(place) was asked without TLS", "--ca, --cert and --key ask over TLS")
        }
    }

    private func refusal(_ place: String) -> DoctorFinding {
        // A broker that does not take the connection says so in these words.
        let words = "martlet: "
        guard let probe, probe.body.hasPrefix(words) else {
            return DoctorFinding(
                id: "not-a-broker", severity: .error, what: "what is \(place) answers /readyz with status \(probe?.status ?? 0)",
                next: "the address of a broker")
        }
        let said = probe.body.dropFirst(words.count).prefix { $0 != "\n" }
        let wantsTLS = probe.status == 403 && probe.handshake == nil
        return DoctorFinding(
            id: wantsTLS ? "tls-wanted" : "refused", severity: .error, what: "the broker \(place) does not take this connection: \(said)",
            next: wantsTLS
                ? "--ca with its CA certificate, --cert and --key with a client's; on the broker's machine --running asks without"
                : "as it says")
    }
}
