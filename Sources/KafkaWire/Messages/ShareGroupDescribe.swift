// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ShareGroupDescribe (key 77, version 1; KIP-932).
//
// Version 0 was a preview and is not spoken.

import Bytes
import NIOCore

package struct ShareGroupDescribeRequest: FieldStructure {
    package var groupIds: [String] = []
    package var includeAuthorizedOperations = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.stringArray(&groupIds)
        coder.bool(&includeAuthorizedOperations)
        coder.noTags()
    }
}

extension ShareGroupDescribeRequest: KafkaRequest {
    package typealias Response = ShareGroupDescribeResponse
    package static let apiKey = ApiKey.shareGroupDescribe

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ShareGroupDescribeResponse: FieldStructure {
    package struct Group: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var groupId = ""
        /// Kafka's name of it, such as `Stable`.
        package var groupState = ""
        package var groupEpoch: Int32 = 0
        package var assignmentEpoch: Int32 = 0
        package var assignorName = ""
        package var members: [Member] = []
        /// Bit n is ACL operation n.
        package var authorizedOperations = AuthorizedOperations.omitted

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.string(&groupId)
            coder.string(&groupState)
            coder.int32(&groupEpoch)
            coder.int32(&assignmentEpoch)
            coder.string(&assignorName)
            coder.array(&members)
            coder.int32(&authorizedOperations)
            coder.noTags()
        }
    }

    package struct Member: FieldStructure, Equatable, Sendable {
        package var memberId = ""
        package var rackId: String?
        package var memberEpoch: Int32 = 0
        package var clientId = ""
        package var clientHost = ""
        package var subscribedTopicNames: [String] = []
        package var assignment = Assignment()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&memberId)
            coder.string(&rackId)
            coder.int32(&memberEpoch)
            coder.string(&clientId)
            coder.string(&clientHost)
            coder.stringArray(&subscribedTopicNames)
            assignment.walk(&coder)
            coder.noTags()
        }
    }

    package struct Assignment: FieldStructure, Equatable, Sendable {
        package var topicPartitions: [TopicPartitions] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.array(&topicPartitions)
            coder.noTags()
        }
    }

    package struct TopicPartitions: FieldStructure, Equatable, Sendable {
        package var topicId = TopicId.zero
        package var topicName = ""
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.uuid(&topicId)
            coder.string(&topicName)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var groups: [Group] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&groups)
        coder.noTags()
    }
}

extension ShareGroupDescribeResponse: KafkaResponse {
    package static let apiKey = ApiKey.shareGroupDescribe

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
