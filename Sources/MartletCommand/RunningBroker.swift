// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: asks a broker on this machine how it is, whatever its listeners take: by the socket in its data
// directory. Its ready file, if it has one, says where that is. For health checks, and the doctor's `--running`.

import Bytes
import Client
import Martlet

enum RunningBroker {
    private static let seconds = 10

    /// Adds what it says; `configuration` tells where it is.
    static func ask(_ configuration: Configuration, _ doctor: inout Doctor) async {
        do {
            guard let file = configuration.readyFile else {
                return try ask(in: configuration.isEphemeral ? nil : configuration.dataDirectory, &doctor)
            }
            guard let told = ReadyFile(path: Environment.absolute(file)).read() else {
                return doctor.add(
                    DoctorFinding(
                        id: "not-ready", severity: .error, what: "no broker answers: its ready file \(file) is not there",
                        next: "start it; its log says why it ended, or what it waits for"))
            }
            if let directory = told["data"]?.text { return try ask(in: directory, &doctor) }
            guard let address = told["address"]?.text else { throw CommandError("\(file) is no ready file of a broker") }
            try await ask(at: address, told["certs"], &doctor)
        } catch {
            doctor.add(
                DoctorFinding(id: "cannot-connect", severity: .error, what: "\(error)", next: "the broker's log says how it is"))
        }
    }

    private static func ask(in directory: String?, _ doctor: inout Doctor) throws {
        guard let directory = directory.map(Environment.absolute) else {
            throw CommandError("a broker in memory has no socket for commands; start it with --ready-file, and name that file here too")
        }
        let answer = try ControlSocket.ask("{\"command\":\"readiness\"}", in: directory, seconds: seconds)
        if let error = answer["error"]?.text { throw CommandError(error) }
        BrokerAnswer(answer).report("in \(directory)", to: &doctor)
    }

    /// One that keeps nothing on a disk, by the client's certificate that it has made.
    private static func ask(at address: String, _ certificates: JSONValue?, _ doctor: inout Doctor) async throws {
        var options = ConnectionOptions(endpoint: try checked { () throws(ClientError) in try Endpoint(address) })
        options.requestTimeoutMs = Int64(seconds) * 1000
        if let certificates {
            options.certificates = CertificateFiles(
                authority: certificates["ca"]?.text, certificate: certificates["cert"]?.text, key: certificates["key"]?.text)
        }
        let before = SystemClock().nowMs()
        let probe = try await HTTPProbe.get("/readyz", options)
        BrokerAnswer(probe, askedMs: before, answeredMs: SystemClock().nowMs()).report("at \(address)", to: &doctor)
    }
}
