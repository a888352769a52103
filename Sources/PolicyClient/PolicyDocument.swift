// SPDX-License-Identifier: Apache-2.0
// Martlet, PolicyClient: what is sent to an external policy and what it answers: the forms of Open Policy Agent's data API,
// and of its input for Kafka.
//
//   {"input":{"action":{"operation","resourcePattern":{"resourceType","name","patternType"}},
//             "requestContext":{"principal":{"principalType","name"},"clientAddress","listenerName","securityProtocol","protocol"}}}
//   {"result":true}   {"result":{"allow":true}}   {}: nothing is said, so nothing is allowed

import Bytes
import Engine
import Telemetry

enum PolicyDocument {
    static func input(_ question: AccessQuestion) -> String {
        let client = question.client
        let colon = client.principal.firstIndex(of: ":")
        let type = colon.map { String(client.principal[..<$0]) } ?? "User"
        let name = colon.map { String(client.principal[client.principal.index(after: $0)...]) } ?? client.principal
        return "{\"input\":{\"action\":{\"operation\":\"\(word(question.operation))\",\"resourcePattern\":{"
            + "\"resourceType\":\"\(word(question.resource))\",\"name\":\(JSONText.quoted(question.name)),\"patternType\":\"LITERAL\"}},"
            + "\"requestContext\":{\"principal\":{\"principalType\":\(JSONText.quoted(type)),\"name\":\(JSONText.quoted(name))},"
            + "\"clientAddress\":\(JSONText.quoted(client.host)),\"listenerName\":\(JSONText.quoted(client.listener)),"
            + "\"securityProtocol\":\"\(client.isTLS ? "SSL" : "PLAINTEXT")\",\"protocol\":\(JSONText.quoted(client.wire))}}}"
    }

    static func answer(status: Int, body: [UInt8]) -> PolicyAnswer {
        guard status == 200 else { return .failed("it answered with status \(status)\(quoted(body))") }
        guard let value = JSONValue(body), case .object = value else { return .failed("it answered no JSON object\(quoted(body))") }
        switch value["result"] {
        case nil: return .denied
        case .bool(let isAllowed): return isAllowed ? .allowed : .denied
        case .object(let fields):
            switch fields["allow"] {
            case nil: return .denied
            case .bool(let isAllowed): return isAllowed ? .allowed : .denied
            default: return .failed("the `allow` of its result is neither true nor false\(quoted(body))")
            }
        default: return .failed("its result is neither true, false nor an object with `allow`\(quoted(body))")
        }
    }

    private static func quoted(_ body: [UInt8]) -> String {
        guard !body.isEmpty else { return "" }
        let text = String(decoding: body.prefix(Limits.quotedBytes), as: UTF8.self)
        return ": \(JSONText.escaped(text))\(body.count > Limits.quotedBytes ? "…" : "")"
    }

    /// Kafka's names (`AclOperation`).
    private static func word(_ operation: AccessOperation) -> String {
        switch operation {
        case .all: "ALL"
        case .read: "READ"
        case .write: "WRITE"
        case .create: "CREATE"
        case .delete: "DELETE"
        case .alter: "ALTER"
        case .describe: "DESCRIBE"
        case .clusterAction: "CLUSTER_ACTION"
        case .describeConfigs: "DESCRIBE_CONFIGS"
        case .alterConfigs: "ALTER_CONFIGS"
        case .idempotentWrite: "IDEMPOTENT_WRITE"
        case .createTokens: "CREATE_TOKENS"
        case .describeTokens: "DESCRIBE_TOKENS"
        case .twoPhaseCommit: "TWO_PHASE_COMMIT"
        }
    }

    /// Kafka's names (`ResourceType`).
    private static func word(_ resource: ResourceType) -> String {
        switch resource {
        case .topic: "TOPIC"
        case .group: "GROUP"
        case .cluster: "CLUSTER"
        case .transactionalId: "TRANSACTIONAL_ID"
        case .delegationToken: "DELEGATION_TOKEN"
        case .user: "USER"
        }
    }
}
