// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: whom a quota is for and what it limits: Kafka's entities and keys (KIP-55, KIP-546, KIP-599, KIP-612).

/// A user, a client id, both together, or an address; each one by name, or all those without a quota of their own.
package struct QuotaEntity: Hashable, Sendable {
    package enum Name: Hashable, Sendable {
        /// Whoever has no quota by name.
        case others
        case named(String)
    }

    package static let nameBytesMax = Limits.quotaNameBytes

    package var user: Name?
    package var clientId: Name?
    package var ip: Name?

    package init(user: Name? = nil, clientId: Name? = nil, ip: Name? = nil) {
        self.user = user
        self.clientId = clientId
        self.ip = ip
    }
}

extension QuotaEntity: CustomStringConvertible {
    package var description: String {
        func part(_ type: String, _ name: Name?) -> String? {
            switch name {
            case nil: nil
            case .others: "\(type) <default>"
            case .named(let name): "\(type) \(name)"
            }
        }
        return [part("user", user), part("client-id", clientId), part("ip", ip)].compactMap(\.self).joined(separator: ", ")
    }
}

/// What is limited. The names are Kafka's and are stored.
package enum QuotaKey: String, Sendable, Hashable, CaseIterable {
    /// Bytes of Produce requests, or of published records, a second.
    case producerByteRate = "producer_byte_rate"
    /// Bytes of records sent a second.
    case consumerByteRate = "consumer_byte_rate"
    /// Percent of one event loop's time.
    case requestPercentage = "request_percentage"
    /// Partitions created and deleted a second.
    case controllerMutationRate = "controller_mutation_rate"
    /// Connections a second.
    case connectionCreationRate = "connection_creation_rate"

    /// What a value must be besides positive.
    fileprivate var wholeMax: (max: Double, type: String)? {
        switch self {
        case .producerByteRate, .consumerByteRate: (0x1p63, "a LONG")
        case .connectionCreationRate: (2_147_483_647, "an INT")
        case .requestPercentage, .controllerMutationRate: nil
        }
    }

    var isOfAddress: Bool { self == .connectionCreationRate }
}

/// One change of one quota; without a value it is removed.
package struct QuotaChange: Equatable, Sendable {
    package var entity: QuotaEntity
    package var key: QuotaKey
    package var value: Double?

    package init(_ entity: QuotaEntity, _ key: QuotaKey, _ value: Double?) {
        self.entity = entity
        self.key = key
        self.value = value
    }
}

extension QuotaChange {
    /// A change that somebody asks for by names; throws what Kafka refuses.
    package init(_ entity: QuotaEntity, key name: String, value: Double?) throws(EngineError) {
        guard let key = QuotaKey(rawValue: name), key.isOfAddress == (entity.ip != nil) else {
            throw EngineError(.invalidRequest, "Invalid configuration key \(name)")
        }
        if let value {
            guard value > 0 else { throw EngineError(.invalidRequest, "Quota \(name) must be greater than 0") }
            if let (max, type) = key.wholeMax {
                guard value <= max else {
                    throw EngineError(.invalidRequest, "Proposed value for \(name) is too large for \(type).")
                }
                guard value.truncatingRemainder(dividingBy: 1) <= 1e-6 else {
                    throw EngineError(.invalidRequest, "\(name) cannot be a fractional value.")
                }
            }
        }
        self.init(entity, key, value)
    }
}
