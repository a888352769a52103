// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: how a call ended (the gRPC status codes).

/// The outcome of a call: a code, and for a person what happened and what to do next.
package struct GRPCStatus: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Code: Int, Sendable, CaseIterable {
        case ok = 0
        case cancelled = 1
        case unknown = 2
        case invalidArgument = 3
        case deadlineExceeded = 4
        case notFound = 5
        case alreadyExists = 6
        case permissionDenied = 7
        case resourceExhausted = 8
        case failedPrecondition = 9
        case aborted = 10
        case outOfRange = 11
        case unimplemented = 12
        case `internal` = 13
        case unavailable = 14
        case dataLoss = 15
        case unauthenticated = 16

        /// As the gRPC documents spell it: `DEADLINE_EXCEEDED`.
        package var name: String {
            switch self {
            case .ok: "OK"
            case .cancelled: "CANCELLED"
            case .unknown: "UNKNOWN"
            case .invalidArgument: "INVALID_ARGUMENT"
            case .deadlineExceeded: "DEADLINE_EXCEEDED"
            case .notFound: "NOT_FOUND"
            case .alreadyExists: "ALREADY_EXISTS"
            case .permissionDenied: "PERMISSION_DENIED"
            case .resourceExhausted: "RESOURCE_EXHAUSTED"
            case .failedPrecondition: "FAILED_PRECONDITION"
            case .aborted: "ABORTED"
            case .outOfRange: "OUT_OF_RANGE"
            case .unimplemented: "UNIMPLEMENTED"
            case .internal: "INTERNAL"
            case .unavailable: "UNAVAILABLE"
            case .dataLoss: "DATA_LOSS"
            case .unauthenticated: "UNAUTHENTICATED"
            }
        }
    }

    package var code: Code
    package var message: String
    /// The same for programs; nil: nothing beyond the code. What is sent is `info`.
    package var details: StatusDetails?

    package init(_ code: Code, _ message: String = "", details: StatusDetails? = nil) {
        self.code = code
        self.message = message
        self.details = details
    }

    /// A refusal with a reason of its own, and what it is about.
    package init(_ code: Code, _ reason: String, retryMs: Int64? = nil, _ message: String) {
        self.init(code, reason, [], retryMs: retryMs, message)
    }

    package init(
        _ code: Code, _ reason: String, _ metadata: [(key: String, value: String)], retryMs: Int64? = nil, _ message: String
    ) {
        self.init(code, message, details: StatusDetails(reason: reason, metadata: metadata, retryMs: retryMs))
    }

    /// A field of the request that is wrong.
    package static func invalid(_ field: String, _ message: String) -> GRPCStatus {
        GRPCStatus(.invalidArgument, message, details: StatusDetails(reason: "INVALID_FIELD", field: field))
    }

    /// A topic, or a partition of one, that is not there.
    package static func unknown(
        topic: String, partition: Int32? = nil, _ message: String
    ) -> GRPCStatus {
        var metadata = [(key: "topic", value: topic)]
        if let partition { metadata.append(("partition", "\(partition)")) }
        let reason = partition == nil ? "UNKNOWN_TOPIC" : "UNKNOWN_PARTITION"
        return GRPCStatus(.notFound, message, details: StatusDetails(reason: reason, metadata: metadata))
    }

    package static func unknown(topic: String) -> GRPCStatus {
        unknown(topic: topic, "topic \(topic) does not exist; create it, or look at the name")
    }

    /// A topic that nobody but the broker may write to.
    package static func internalTopic(_ name: String, field: String) -> GRPCStatus {
        invalid(field, "topic \(name) belongs to the broker; choose another one").about("topic", name)
    }

    package static let ok = GRPCStatus(.ok)

    package static let shuttingDown = GRPCStatus(
        .unavailable, "SHUTTING_DOWN", retryMs: 1_000, "the broker is shutting down; connect again")

    /// Bytes that are not the message that they should be.
    package static func malformed(_ message: String) -> GRPCStatus {
        GRPCStatus(
            .invalidArgument, "INVALID_MESSAGE", [("message", message)],
            "the request is not a \(message); compare with the proto files, or with server reflection")
    }

    /// What every error tells programs: at least a constant.
    package var info: StatusDetails { details ?? StatusDetails(reason: code.name) }

    /// A constant that says why.
    package var reason: String { info.reason }

    /// The same, and what it is about, unless it says that already.
    package func about(_ key: String, _ value: String) -> GRPCStatus {
        guard code != .ok, !value.isEmpty else { return self }
        return GRPCStatus(code, message, details: info.adding((key, value)))
    }

    /// The same, as the fault of this field, unless it names one.
    package func at(_ field: String) -> GRPCStatus {
        guard info.field == nil else { return self }
        return GRPCStatus(
            code, message,
            details: StatusDetails(reason: reason, field: field, metadata: info.metadata, retryMs: info.retryMs))
    }

    package var description: String { message.isEmpty ? code.name : "\(code.name): \(message)" }

    package static func == (left: GRPCStatus, right: GRPCStatus) -> Bool {
        left.code == right.code && left.message == right.message
    }
}
