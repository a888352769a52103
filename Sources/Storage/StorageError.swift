// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the one error type of this module.

/// What went wrong with the disk or the data on it. Equality is by code.
package struct StorageError: Error, Equatable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// The disk, a quota or the process's file size limit is full (ENOSPC, EDQUOT, EFBIG). Nothing was lost;
        /// writing works again when there is space.
        case full
        /// A write or sync failed: the log is read-only until the process restarts.
        case readOnly
        /// The process or the machine has no file descriptor left (EMFILE, ENFILE). Nothing was tried and nothing
        /// was lost; it works again when some are closed.
        case tooManyOpenFiles
        /// Any other failed call to the operating system.
        case inputOutput
        /// The file or directory is not there.
        case notFound
        /// No permission.
        case permission
        /// Another process has the data directory.
        case inUse
        /// The data directory was written by a newer Martlet.
        case newerFormat
        /// Damaged bytes where good ones were expected.
        case corrupt
        /// The offset is not in the log.
        case offsetOutOfRange
        /// The log was closed or deleted.
        case closed
    }

    package var code: Code
    /// What was tried, on which path, and why it failed, for a person.
    package var message: String
    /// The operating system's error number, if one was involved.
    package var errno: Int32?

    package init(_ code: Code, _ message: String, errno: Int32? = nil) {
        self.code = code
        self.message = message
        self.errno = errno
    }

    package var description: String { message }

    package static func == (left: StorageError, right: StorageError) -> Bool { left.code == right.code }
}
