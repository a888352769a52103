// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeUserScramCredentials (key 50, version 0; KIP-554).
//
// Which mechanisms a user has and with how many iterations, never a secret.

import NIOCore

package struct DescribeUserScramCredentialsRequest: FieldStructure {
    package struct User: FieldStructure, Equatable, Sendable {
        package var name = ""

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.noTags()
        }
    }

    /// nil or empty: all users.
    package var users: [User]?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&users)
        coder.noTags()
    }
}

extension DescribeUserScramCredentialsRequest: KafkaRequest {
    package typealias Response = DescribeUserScramCredentialsResponse
    package static let apiKey = ApiKey.describeUserScramCredentials

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeUserScramCredentialsResponse: FieldStructure {
    package struct Result: FieldStructure, Equatable, Sendable {
        package var user = ""
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var credentialInfos: [CredentialInfo] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&user)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.array(&credentialInfos)
            coder.noTags()
        }
    }

    package struct CredentialInfo: FieldStructure, Equatable, Sendable {
        /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        package var mechanism: Int8 = 0
        package var iterations: Int32 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int8(&mechanism)
            coder.int32(&iterations)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    package var results: [Result] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        coder.array(&results)
        coder.noTags()
    }
}

extension DescribeUserScramCredentialsResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeUserScramCredentials

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
