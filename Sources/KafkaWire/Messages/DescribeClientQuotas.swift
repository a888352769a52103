// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeClientQuotas (key 48, versions 0-1; KIP-546).

import NIOCore

package struct DescribeClientQuotasRequest: FieldStructure {
    package struct Component: FieldStructure, Equatable, Sendable {
        /// `user`, `client-id` or `ip`.
        package var entityType = ""
        /// 0 the name in `match`, 1 the default, 2 any name.
        package var matchType: Int8 = 0
        /// The name to match; nil unless `matchType` is 0.
        package var match: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&entityType)
            coder.int8(&matchType)
            coder.string(&match)
            coder.noTags()
        }
    }

    package var components: [Component] = []
    /// Leave out quotas that have parts besides these.
    package var strict = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&components)
        coder.bool(&strict)
        coder.noTags()
    }
}

extension DescribeClientQuotasRequest: KafkaRequest {
    package typealias Response = DescribeClientQuotasResponse
    package static let apiKey = ApiKey.describeClientQuotas

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeClientQuotasResponse: FieldStructure {
    package struct Entry: FieldStructure, Equatable, Sendable {
        package var entity: [Entity] = []
        package var values: [Value] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.array(&entity)
            coder.array(&values)
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

    package struct Value: FieldStructure, Equatable, Sendable {
        /// The quota's name, such as `producer_byte_rate`.
        package var key = ""
        package var value: Double = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&key)
            coder.float64(&value)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    /// nil after an error.
    package var entries: [Entry]?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        coder.array(&entries)
        coder.noTags()
    }
}

extension DescribeClientQuotasResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeClientQuotas

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
