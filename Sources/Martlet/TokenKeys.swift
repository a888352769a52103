// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the file with the keys that tokens are signed for, from a broker's start to its end.
//
// Watched: when it changes, new tokens are checked with the new keys. A file that cannot be used leaves the old keys
// in force and a line in the log. `refresh` is called by the control loop only.

import Bytes
import Engine
import Logging
import Security

final class TokenKeys: Sendable {
    /// What the file had at the start.
    let first: SigningKeys
    private let watch: FileWatch

    init(_ file: String) throws(BrokerError) {
        watch = FileWatch(file)
        do {
            first = try Self.read(file)
        } catch {
            throw BrokerError(error.description)
        }
    }

    func refresh(_ tokens: TokenChecks, logger: Logger) {
        guard watch.hasChanged() else { return }
        do throws(SigningKeys.Invalid) {
            tokens.use(try Self.read(watch.path))
            logger.notice("the keys of tokens were read again, their file has changed")
        } catch {
            logger.error("the keys of tokens changed and cannot be used, the old ones stay in force: \(error)")
        }
    }

    private static func read(_ file: String) throws(SigningKeys.Invalid) -> SigningKeys {
        do throws(TextFile.Failure) {
            return try keys(file, TextFile.read(file, bytesMax: JSONValue.bytesMax))
        } catch {
            throw SigningKeys.Invalid(description: "key set \(file): \(error.reason)")
        }
    }

    private static func keys(_ file: String, _ content: [UInt8]) throws(TextFile.Failure) -> SigningKeys {
        do throws(SigningKeys.Invalid) {
            return try SigningKeys(jwks: content)
        } catch {
            throw TextFile.Failure(reason: error.description)
        }
    }
}
