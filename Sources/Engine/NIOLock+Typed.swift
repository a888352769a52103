// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a lock that keeps the type of errors.

import NIOConcurrencyHelpers

extension NIOLock {
    /// `withLock` that keeps the error's type.
    @inline(__always)
    func withLockTyped<T, Failure: Error>(_ body: () throws(Failure) -> T) throws(Failure) -> T {
        lock()
        defer { unlock() }
        return try body()
    }
}
