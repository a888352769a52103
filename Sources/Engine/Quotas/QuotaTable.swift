// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: all quotas, and which of them is a client's.
//
// A value. Of the quotas that speak of a client the most specific one counts, and says with whom the client shares it:
//
//   user and client id > user and any client id > user > any user and client id > any user and any client id
//   > any user > client id > any client id
//
// Quotas of a user are shared by all connections of the user, those of a client id by all that give it, whoever they are.

/// Who asks: the name of the principal, without its type, and what the client calls itself.
package struct QuotaClient: Hashable, Sendable {
    package var user: String
    package var clientId: String

    package init(principal: String, clientId: String) {
        user = principal.hasPrefix("User:") ? String(principal.dropFirst(5)) : principal
        // A longer one has no quota of its own.
        self.clientId = clientId.utf8.count <= QuotaEntity.nameBytesMax ? clientId : ""
    }
}

package struct QuotaTable: Equatable, Sendable {
    package private(set) var quotas: [QuotaEntity: [QuotaKey: Double]] = [:]

    /// Those who share one quota.
    struct Sharing: Hashable {
        var key: QuotaKey
        /// nil: whatever it is.
        var user: String?
        var clientId: String?
        var address: String?
    }

    package init() {}

    package var count: Int { quotas.values.reduce(0) { $0 + $1.count } }

    /// Whether anybody has a quota of this kind.
    func has(_ key: QuotaKey) -> Bool { quotas.values.contains { $0[key] != nil } }

    mutating func apply(_ change: QuotaChange) {
        quotas[change.entity, default: [:]][change.key] = change.value
        if quotas[change.entity]?.isEmpty == true { quotas[change.entity] = nil }
    }

    func limit(_ client: QuotaClient, _ key: QuotaKey) -> (limit: Double, sharing: Sharing)? {
        let user = QuotaEntity.Name.named(client.user)
        let clientId = QuotaEntity.Name.named(client.clientId)
        let levels: [(QuotaEntity, isOfUser: Bool, isOfClient: Bool)] = [
            (QuotaEntity(user: user, clientId: clientId), true, true),
            (QuotaEntity(user: user, clientId: .others), true, true),
            (QuotaEntity(user: user), true, false),
            (QuotaEntity(user: .others, clientId: clientId), true, true),
            (QuotaEntity(user: .others, clientId: .others), true, true),
            (QuotaEntity(user: .others), true, false),
            (QuotaEntity(clientId: clientId), false, true),
            (QuotaEntity(clientId: .others), false, true),
        ]
        for (entity, isOfUser, isOfClient) in levels {
            guard let limit = quotas[entity]?[key] else { continue }
            return (
                limit, Sharing(key: key, user: isOfUser ? client.user : nil, clientId: isOfClient ? client.clientId : nil)
            )
        }
        return nil
    }

    func limit(address: String) -> (limit: Double, sharing: Sharing)? {
        for name in [QuotaEntity.Name.named(address), .others] {
            guard let limit = quotas[QuotaEntity(ip: name)]?[.connectionCreationRate] else { continue }
            return (limit, Sharing(key: .connectionCreationRate, address: address))
        }
        return nil
    }
}
