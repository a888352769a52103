// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what can go wrong with an address, a certificate file or a TLS library.

/// An error of the environment, for the person who started the broker. Equality is by code.
///
/// What a *peer* does wrong in TLS is a `TLSError`; it concerns one connection only.
package struct TransportError: Error, Equatable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// Another process listens on this address.
        case addressInUse
        /// The host name or address is not one of this machine, or cannot be resolved.
        case addressNotAvailable
        /// No permission, for a port or for a file.
        case permission
        /// A file is missing.
        case notFound
        /// A file has the wrong content: not PEM, no certificate, an encrypted key.
        case invalidFile
        /// A certificate whose time has not come.
        case notYetValid
        /// The private key does not belong to the certificate.
        case keyMismatch
        /// Options that contradict each other.
        case invalidOptions
        /// Any other failed call to the operating system.
        case inputOutput
        /// The TLS library failed for a reason of its own (out of memory, missing algorithm).
        case library
    }

    package var code: Code
    /// What was tried, on what, why it failed, and what to do next; one line.
    package var message: String
    /// The operating system's error number, if one was involved.
    package var errno: Int32?

    package init(_ code: Code, _ message: String, errno: Int32? = nil) {
        self.code = code
        self.message = message
        self.errno = errno
    }

    package var description: String { message }

    package static func == (left: TransportError, right: TransportError) -> Bool {
        left.code == right.code
    }
}
