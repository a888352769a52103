// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeCluster (key 60, versions 0-2, all flexible).
//
// Endpoint type since 1 (KIP-919: 1 brokers, 2 controllers), fenced brokers since 2 (KIP-1073).

import NIOCore

package struct DescribeClusterRequest: FieldStructure {
    package var includeClusterAuthorizedOperations = false
    package var endpointType: Int8 = 1
    package var includeFencedBrokers = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.bool(&includeClusterAuthorizedOperations)
        if coder.version >= 1 { coder.int8(&endpointType) }
        if coder.version >= 2 { coder.bool(&includeFencedBrokers) }
        coder.noTags()
    }
}

extension DescribeClusterRequest: KafkaRequest {
    package typealias Response = DescribeClusterResponse
    package static let apiKey = ApiKey.describeCluster

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeClusterResponse: FieldStructure {
    package struct Broker: FieldStructure, Equatable, Sendable {
        package var brokerId: Int32 = 0
        package var host = ""
        package var port: Int32 = 0
        package var rack: String?
        package var isFenced = false

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&brokerId)
            coder.string(&host)
            coder.int32(&port)
            coder.string(&rack)
            if coder.version >= 2 { coder.bool(&isFenced) }
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    package var endpointType: Int8 = 1
    package var clusterId = ""
    package var controllerId: Int32 = -1
    package var brokers: [Broker] = []
    package var clusterAuthorizedOperations = AuthorizedOperations.omitted

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        if coder.version >= 1 { coder.int8(&endpointType) }
        coder.string(&clusterId)
        coder.int32(&controllerId)
        coder.array(&brokers)
        coder.int32(&clusterAuthorizedOperations)
        coder.noTags()
    }
}

extension DescribeClusterResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeCluster

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
