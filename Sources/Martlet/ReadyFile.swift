// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the file that says that the broker answers, and where.
//
// It is there exactly while the broker answers: one that an earlier process left behind is removed before anything else
// is done, and it is put in place, whole, after the listeners are bound. A test harness waits for it instead of polling ports.

import Bytes
import Glibc
import Telemetry

package struct ReadyFile: Sendable {
    let path: String

    package init(path: String) { self.path = path }

    /// What a broker has written there; nil: none answers.
    package func read() -> JSONValue? {
        (try? TextFile.read(path, bytesMax: Limits.readyFileBytes)).flatMap { JSONValue($0) }
    }

    /// Removes what an earlier process may have left.
    func clear() {
        TextFile.remove(path)
    }

    func write(
        address: Address, durability: Configuration.Durability, data: String?, certificates: Broker.Certificates?
    ) throws(BrokerError) {
        var fields = [
            "\"pid\":\(getpid())", "\"address\":\(JSONText.quoted(address.description))",
            "\"durability\":\(JSONText.quoted(durability.rawValue))",
        ]
        if let data { fields.append("\"data\":\(JSONText.quoted(data))") }
        if let certificates {
            let paths = [("ca", certificates.authority), ("cert", certificates.certificate), ("key", certificates.key)]
            let members = paths.map { "\"\($0)\":\(JSONText.quoted($1))" }
            fields.append("\"certs\":{\(members.joined(separator: ","))}")
        }
        do {
            try TextFile.replace(path, with: "{\(fields.joined(separator: ","))}\n")
        } catch {
            throw BrokerError(
                "cannot write the ready file \(path): \(error.reason); its directory must exist and be writable")
        }
    }
}
