// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: asks a broker on this machine how it is, whatever its listeners take: by the socket in its data
// directory. Its ready file, if it has one, says where that is; a broker in memory listens beside that file. For health
// checks, and the doctor's `--running`.

import Bytes
import Martlet

enum RunningBroker {
    private static let seconds = 10
    private static let request = "{\"command\":\"readiness\"}"

    /// Adds what it says; `configuration` tells where it is.
    static func ask(_ configuration: Configuration, _ doctor: inout Doctor) {
        do {
            guard let file = configuration.readyFile else {
                return try ask(in: configuration.isEphemeral ? nil : configuration.dataDirectory, &doctor)
            }
            let path = Environment.absolute(file)
            guard let told = ReadyFile(path: path).read() else {
                return doctor.add(
                    DoctorFinding(
                        id: "not-ready", severity: .error, what: "no broker answers: its ready file \(file) is not there",
                        next: "start it; its log says why it ended, or what it waits for"))
            }
            if let directory = told["data"]?.text { return try ask(in: directory, &doctor) }
            guard told["address"] != nil else { throw CommandError("\(file) is no ready file of a broker") }
            try report(ControlSocket.ask(request, besideReadyFile: path, seconds: seconds), "of \(file)", &doctor)
        } catch {
            doctor.add(
                DoctorFinding(id: "cannot-connect", severity: .error, what: "\(error)", next: "the broker's log says how it is"))
        }
    }

    private static func ask(in directory: String?, _ doctor: inout Doctor) throws {
        guard let directory = directory.map(Environment.absolute) else {
            throw CommandError("a broker in memory has no socket for commands; start it with --ready-file, and name that file here too")
        }
        try report(ControlSocket.ask(request, in: directory, seconds: seconds), "in \(directory)", &doctor)
    }

    private static func report(_ answer: JSONValue, _ place: String, _ doctor: inout Doctor) throws {
        if let error = answer["error"]?.text { throw CommandError(error) }
        BrokerAnswer(answer).report(place, to: &doctor)
    }
}
