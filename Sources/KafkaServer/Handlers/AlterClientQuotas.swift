// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AlterClientQuotas (key 49).
//
// Versions: 0 to 1.
// Behaviour: sets and removes quotas of users, client ids, both together, and addresses; for each entity all of its changes or
//   none, answered when they are durable and in force. INVALID_REQUEST with the reason for what Kafka refuses: no or unknown
//   entity types, a type twice, ip together with others, an unknown key or one of the other kind, a key twice, a
//   value that is not positive, too large, or not whole. validateOnly changes nothing.
// Deviations from Kafka: an entity that is given twice is not changed at all (Kafka applies the first and refuses it too); ip takes
//   addresses only, no host names.
// Notes: KIP-546, KIP-612. 1 is flexible.

import Engine
import KafkaWire

enum AlterClientQuotasHandler: KafkaHandler {
    typealias Wanted = AlterClientQuotasRequest.Entry
    typealias Answer = AlterClientQuotasResponse.Entry

    static func handle(_ request: AlterClientQuotasRequest, _ exchange: Exchange) {
        let count = request.entries.reduce(request.entries.count) { $0 + $1.entity.count + $1.ops.count }
        guard exchange.admits(count, "entities and changes", limit: Limits.resourcesPerRequest) else { return }
        var times: [QuotaEntity: Int] = [:]
        for entry in request.entries {
            guard let entity = try? entity(of: entry) else { continue }
            times[entity, default: 0] += 1
        }
        var answered: Set<QuotaEntity> = []
        var changes: [QuotaChange] = []
        var response = AlterClientQuotasResponse()
        for entry in request.entries {
            var answer = answer(to: entry)
            do throws(EngineError) {
                let entity = try entity(of: entry)
                guard answered.insert(entity).inserted else { continue }
                guard times[entity] == 1 else {
                    throw EngineError(.invalidRequest, "Ignoring duplicate entity \(entity)")
                }
                changes += try self.changes(entry, entity)
            } catch {
                answer.errorCode = KafkaErrorCode(error)
                answer.errorMessage = error.message
            }
            response.entries.append(answer)
        }
        guard !request.validateOnly, !changes.isEmpty else { return exchange.reply(response) }
        exchange.engine.quotas.change(changes, on: exchange.loop) { [response] result in
            var response = response
            if case .failure(let error) = result {
                for index in response.entries.indices where response.entries[index].errorCode == .none {
                    response.entries[index].errorCode = KafkaErrorCode(error)
                    response.entries[index].errorMessage = error.message
                }
            }
            exchange.reply(response)
        }
    }

    private static func entity(of entry: Wanted) throws(EngineError) -> QuotaEntity {
        try QuotaEntity(parts: entry.entity.map { ($0.entityType, $0.entityName) })
    }

    private static func changes(_ entry: Wanted, _ entity: QuotaEntity) throws(EngineError) -> [QuotaChange] {
        var keys: Set<String> = []
        var changes: [QuotaChange] = []
        for op in entry.ops {
            guard keys.insert(op.key).inserted else {
                throw EngineError(.invalidRequest, "Duplicate quota key \(op.key), not updating quota for this entity \(entity)")
            }
            // Kafka lets keys be removed that never were, whatever they are called.
            if op.remove, QuotaKey(rawValue: op.key) == nil { continue }
            changes.append(try QuotaChange(entity, key: op.key, value: op.remove ? nil : op.value))
        }
        return changes
    }

    private static func answer(to entry: Wanted) -> Answer {
        var answer = Answer()
        answer.entity = entry.entity.map { wanted in
            var entity = AlterClientQuotasResponse.Entity()
            entity.entityType = wanted.entityType
            entity.entityName = wanted.entityName
            return entity
        }
        return answer
    }
}
