// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: AlterClientQuotas (key 49, versions 0-1; KIP-546).

import NIOCore

package struct AlterClientQuotasRequest: FieldStructure {
    package struct Entry: FieldStructure, Equatable, Sendable {
        package var entity: [Entity] = []
        package var ops: [Op] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.array(&entity)
            coder.array(&ops)
            coder.noTags()
        }
    }

    /// One part of what a quota is for: a user, a client id or an address.
    package struct Entity: FieldStructure, Equatable, Sendable {
        /// `user`, `client-id` or `ip`.
        package var entityType = ""
        /// nil: the default for that type.
        package var entityName: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&entityType)
            coder.string(&entityName)
            coder.noTags()
        }
    }

    package struct Op: FieldStructure, Equatable, Sendable {
        /// The quota's name, such as `producer_byte_rate`.
        package var key = ""
        package var value: Double = 0
        /// Remove the quota; `value` means nothing then.
        package var remove = false

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&key)
            coder.float64(&value)
            coder.bool(&remove)
            coder.noTags()
        }
    }

    package var entries: [Entry] = []
    /// Check, change nothing.
    package var validateOnly = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&entries)
        coder.bool(&validateOnly)
        coder.noTags()
    }
}

extension AlterClientQuotasRequest: KafkaRequest {
    package typealias Response = AlterClientQuotasResponse
    package static let apiKey = ApiKey.alterClientQuotas

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct AlterClientQuotasResponse: FieldStructure {
    package struct Entry: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var entity: [Entity] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.array(&entity)
            coder.noTags()
        }
    }

    /// One part of what a quota is for: a user, a client id or an address.
    package struct Entity: FieldStructure, Equatable, Sendable {
        /// `user`, `client-id` or `ip`.
        package var entityType = ""
        /// nil: the default for that type.
        package var entityName: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&entityType)
            coder.string(&entityName)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var entries: [Entry] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&entries)
        coder.noTags()
    }
}

extension AlterClientQuotasResponse: KafkaResponse {
    package static let apiKey = ApiKey.alterClientQuotas

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
