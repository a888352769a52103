// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the authorities that an external policy's certificate is checked against, from a broker's start to its end.
//
// Their file is watched: an authority that is taken out must not speak for the policy any longer, and a new one is there
// before the policy's next certificate. A file that cannot be used leaves the old ones in force and a line in the log.
// `refresh` is called by the control loop only.

import Logging
import PolicyClient
import Transport

final class PolicyAuthority: Sendable {
    private let watch: FileWatch

    /// Before the file is read.
    init(_ file: String) { watch = FileWatch(file) }

    func refresh(_ policy: PolicyClient, logger: Logger) {
        guard watch.hasChanged() else { return }
        do throws(TransportError) {
            try policy.use(authorityFile: watch.path)
            logger.notice("the authorities of the external policy were read again, their file has changed")
        } catch {
            logger.error(
                "the authorities of the external policy changed and cannot be used, the old ones stay in force: \(error.message)")
        }
    }
}
