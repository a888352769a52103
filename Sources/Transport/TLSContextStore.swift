// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: the certificates in force.
//
// A `TLSContext` never changes; reloading certificates makes a new one and puts it in here.
// Handshakes that begin afterwards use it, connections that exist keep theirs. Safe to use from any
// thread; the lock is taken once per handshake and nothing is called while it is held.

import Synchronization

/// Holds the `TLSContext` that new handshakes use.
package final class TLSContextStore: Sendable {
    private let context: Mutex<TLSContext>

    package init(_ context: TLSContext) {
        self.context = Mutex(context)
    }

    package var current: TLSContext {
        context.withLock { $0 }
    }

    /// Puts `new` in force for the handshakes to come.
    package func replace(with new: TLSContext) {
        context.withLock { $0 = new }
    }
}
