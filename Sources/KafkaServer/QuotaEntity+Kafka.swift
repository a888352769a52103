// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: quota entities as Kafka's messages have them (KIP-546), and which of them a filter means.

import Bytes
import Engine
import KafkaWire

extension QuotaEntity {
    static let types = ["user", "client-id", "ip"]

    /// Parts by type; a name that is nil means all others. Throws what Kafka refuses.
    init(parts: [(type: String, name: String?)]) throws(EngineError) {
        guard !parts.isEmpty else { throw EngineError(.invalidRequest, "Invalid empty client quota entity") }
        self.init()
        for (type, name) in parts {
            guard Self.types.contains(type) else {
                throw EngineError(.invalidRequest, "Unhandled client quota entity type: \(type)")
            }
            guard self[type] == nil else {
                throw EngineError(.invalidRequest, "Invalid client quota entity, duplicate entity entry \(type)")
            }
            guard name?.isEmpty != true else { throw EngineError(.invalidRequest, "Empty \(type) not supported") }
            guard name?.utf8.count ?? 0 <= QuotaEntity.nameBytesMax else {
                throw EngineError(
                    .invalidRequest, "the name of a \(type) is longer than \(QuotaEntity.nameBytesMax) bytes")
            }
            self[type] = name.map { .named($0) } ?? .others
        }
        guard ip == nil || (user == nil && clientId == nil) else {
            throw EngineError(
                .invalidRequest,
                "Invalid quota entity combination, IP entity should not be combined with User or ClientId")
        }
        if case .named(let address) = ip {
            guard let text = AddressText.canonical(address) else {
                throw EngineError(.invalidRequest, "\(address) is not a valid IP address.")
            }
            ip = .named(text)
        }
    }

    subscript(type: String) -> Name? {
        get {
            switch type {
            case "user": user
            case "client-id": clientId
            default: ip
            }
        }
        set {
            switch type {
            case "user": user = newValue
            case "client-id": clientId = newValue
            default: ip = newValue
            }
        }
    }

    /// The parts that there are, in order.
    var parts: [(type: String, name: String?)] {
        Self.types.compactMap { type in
            switch self[type] {
            case nil: nil
            case .others: (type, nil)
            case .named(let name): (type, name)
            }
        }
    }
}

/// Which entities a request asks for.
struct QuotaFilter {
    private enum Match: Equatable {
        case exactly(QuotaEntity.Name)
        case any
    }

    struct Refusal: Error {
        var code: KafkaErrorCode
        var message: String
    }

    private var matches: [String: Match] = [:]
    private let isStrict: Bool

    init(_ request: DescribeClientQuotasRequest) throws(Refusal) {
        isStrict = request.strict
        for component in request.components {
            let type = component.entityType
            guard !type.isEmpty else { throw Self.refusal("Invalid empty entity type.") }
            guard matches[type] == nil else {
                throw Self.refusal("Entity type \(type) cannot appear more than once in the filter.")
            }
            guard QuotaEntity.types.contains(type) else {
                throw Refusal(code: .unsupportedVersion, message: "Unsupported entity type \(type)")
            }
            matches[type] = try Self.match(component)
        }
        guard matches["ip"] == nil || matches.count == 1 else {
            throw Self.refusal(
                "Invalid entity filter component combination. IP filter component should not be used with user or clientId"
                    + " filter component.")
        }
    }

    private static func match(_ component: DescribeClientQuotasRequest.Component) throws(Refusal) -> Match {
        switch (component.matchType, component.match) {
        case (0, let name?):
            let isAddress = component.entityType == "ip"
            return .exactly(.named(isAddress ? AddressText.canonical(name) ?? name : name))
        case (0, nil): throw refusal("Request specified MATCH_TYPE_EXACT, but set match string to null.")
        case (1, nil): return .exactly(.others)
        case (2, nil): return .any
        case (1, _), (2, _): throw refusal("Request specified a match string, but the match type does not take one.")
        default: throw refusal("Unknown match type \(component.matchType)")
        }
    }

    private static func refusal(_ message: String) -> Refusal { Refusal(code: .invalidRequest, message: message) }

    func includes(_ entity: QuotaEntity) -> Bool {
        guard !isStrict || entity.parts.count == matches.count else { return false }
        return matches.allSatisfy { type, match in
            switch match {
            case .any: entity[type] != nil
            case .exactly(let name): entity[type] == name
            }
        }
    }
}
