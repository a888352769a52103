// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: a rule of an edge that listeners share, and those that some have of their own.

/// What holds for all listeners, except for those that have their own.
package struct ByListener<Value: Sendable>: Sendable {
    private let common: Value
    /// By `ConnectionContext.listenerName`.
    private let own: [String: Value]

    package init(_ common: Value, own: [String: Value] = [:]) {
        self.common = common
        self.own = own
    }

    package subscript(listener: String) -> Value {
        own.isEmpty ? common : own[listener] ?? common
    }
}
