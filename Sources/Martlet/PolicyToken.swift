// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the token that an external policy is shown, from a broker's start to its end.
//
// The first line of a file that is watched: what issues tokens replaces them in time (a projected volume of Kubernetes, an
// agent of Vault). A file that cannot be used leaves the old token in force and a line in the log, which never has a token.
// `refresh` is called by the control loop only.

import Logging
import PolicyClient

final class PolicyToken: Sendable {
    /// What the file had at the start.
    let first: String
    private let watch: FileWatch

    init(_ file: String) throws(BrokerError) {
        watch = FileWatch(file)
        first = try Self.read(file)
    }

    func refresh(_ policy: PolicyClient, logger: Logger) {
        guard watch.hasChanged() else { return }
        do throws(BrokerError) {
            policy.use(token: try Self.read(watch.path))
            logger.notice("the token for the external policy was read again, its file has changed")
        } catch {
            logger.error("the token for the external policy changed and cannot be used, the old one stays in force: \(error)")
        }
    }

    static func read(_ file: String) throws(BrokerError) -> String {
        let bytes: [UInt8]
        do {
            bytes = try TextFile.read(file, bytesMax: Limits.policyTokenBytes)
        } catch {
            throw BrokerError("authorizer.opa.token.file: cannot read \(file): \(error.reason)")
        }
        guard bytes.count <= Limits.policyTokenBytes else {
            throw BrokerError("authorizer.opa.token.file: \(file) is larger than \(Limits.policyTokenBytes >> 10) KiB; it is no token")
        }
        let line = bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        // What else could end the header or begin another one.
        guard !line.isEmpty, line.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw BrokerError("authorizer.opa.token.file: the first line of \(file) is no token; write the token there, and nothing else")
        }
        return String(decoding: line, as: UTF8.self)
    }
}
