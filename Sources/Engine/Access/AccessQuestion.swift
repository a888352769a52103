// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: whether a client may do something, as an external policy is asked: who, from where, what, to what.
//
// Nothing in it differs between two requests of one client for the same thing: a decision is remembered under all of it.

/// Who asks, and over what.
package struct AccessClient: Hashable, Sendable {
    /// `User:` and a name.
    package var principal: String
    /// An address as text.
    package var host: String
    package var listener: String
    /// `kafka`, or `grpc` for all that is served by its services, browsers included.
    package var wire: String
    package var isTLS: Bool

    package init(principal: String, host: String, listener: String, wire: String, isTLS: Bool) {
        self.principal = principal
        self.host = host
        self.listener = listener
        self.wire = wire
        self.isTLS = isTLS
    }
}

package struct AccessQuestion: Hashable, Sendable {
    package var client: AccessClient
    package var operation: AccessOperation
    package var resource: ResourceType
    package var name: String

    package init(_ client: AccessClient, _ operation: AccessOperation, _ resource: ResourceType, _ name: String) {
        self.client = client
        self.operation = operation
        self.resource = resource
        self.name = name
    }
}

package enum PolicyAnswer: Equatable, Sendable {
    case allowed
    case denied
    /// There is no decision, and why; nobody may do what nobody could decide.
    case failed(String)
}

/// Who decides.
package protocol PolicySource: Sendable {
    /// Completes once, on any thread, and within a time of its own.
    func ask(_ question: AccessQuestion, completion: @escaping @Sendable (PolicyAnswer) -> Void)
}
