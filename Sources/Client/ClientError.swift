// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: the one error type of this module.

/// Why something could not be done at a broker. Equality is by code.
package struct ClientError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// What the caller asked for makes no sense: an address, a file, a number.
        case invalidArgument
        /// Nobody answers at the address.
        case unreachable
        /// The connection ended, or could not be made secure.
        case connection
        /// No answer in time.
        case timeout
        /// The other side broke the protocol, or speaks another one.
        case badAnswer
        /// The broker answered with an error.
        case refused
        /// A file is damaged.
        case damaged
    }

    package var code: Code
    /// What was tried, where, why it failed, and what to do next; for a person.
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    package static func == (left: ClientError, right: ClientError) -> Bool {
        left.code == right.code
    }
}
