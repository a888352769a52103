// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: FindCoordinator (key 10, versions 0-6): which broker coordinates a group, a
// transactional producer or a share group.
//
// One key per request up to 3, many since 4 (KIP-699). The error TRANSACTION_ABORTABLE is possible
// since 5, share groups since 6; neither changes the layout.

import NIOCore

package struct FindCoordinatorRequest: FieldStructure {
    /// Values of `keyType`.
    package enum KeyType {
        package static let group: Int8 = 0
        package static let transaction: Int8 = 1
        package static let share: Int8 = 2
    }

    /// Up to version 3.
    package var key = ""
    package var keyType = KeyType.group
    /// Since version 4.
    package var coordinatorKeys: [String] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version <= 3 { coder.string(&key) }
        if coder.version >= 1 { coder.int8(&keyType) }
        if coder.version >= 4 { coder.stringArray(&coordinatorKeys) }
        coder.noTags()
    }
}

extension FindCoordinatorRequest: KafkaRequest {
    package typealias Response = FindCoordinatorResponse
    package static let apiKey = ApiKey.findCoordinator

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct FindCoordinatorResponse: FieldStructure {
    package struct Coordinator: FieldStructure, Equatable, Sendable {
        package var key = ""
        package var nodeId: Int32 = 0
        package var host = ""
        package var port: Int32 = 0
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&key)
            coder.int32(&nodeId)
            coder.string(&host)
            coder.int32(&port)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    // Up to version 3.
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    package var nodeId: Int32 = 0
    package var host = ""
    package var port: Int32 = 0
    /// Since version 4.
    package var coordinators: [Coordinator] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 1 { coder.int32(&throttleTimeMs) }
        if coder.version <= 3 {
            coder.errorCode(&errorCode)
            if coder.version >= 1 { coder.string(&errorMessage) }
            coder.int32(&nodeId)
            coder.string(&host)
            coder.int32(&port)
        } else {
            coder.array(&coordinators)
        }
        coder.noTags()
    }
}

extension FindCoordinatorResponse: KafkaResponse {
    package static let apiKey = ApiKey.findCoordinator

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
