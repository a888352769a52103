// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: AlterUserScramCredentials (key 51, version 0; KIP-554).
//
// The password itself is never sent, only what the client made of it with salt and iterations.

import NIOCore

package struct AlterUserScramCredentialsRequest: FieldStructure {
    package struct Deletion: FieldStructure, Equatable, Sendable {
        package var name = ""
        /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        package var mechanism: Int8 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int8(&mechanism)
            coder.noTags()
        }
    }

    package struct Upsertion: FieldStructure, Equatable, Sendable {
        package var name = ""
        /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        package var mechanism: Int8 = 0
        package var iterations: Int32 = 0
        package var salt = ByteBuffer()
        package var saltedPassword = ByteBuffer()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int8(&mechanism)
            coder.int32(&iterations)
            coder.bytes(&salt)
            coder.bytes(&saltedPassword)
            coder.noTags()
        }
    }

    package var deletions: [Deletion] = []
    package var upsertions: [Upsertion] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&deletions)
        coder.array(&upsertions)
        coder.noTags()
    }
}

extension AlterUserScramCredentialsRequest: KafkaRequest {
    package typealias Response = AlterUserScramCredentialsResponse
    package static let apiKey = ApiKey.alterUserScramCredentials

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct AlterUserScramCredentialsResponse: FieldStructure {
    package struct Result: FieldStructure, Equatable, Sendable {
        package var user = ""
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&user)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var results: [Result] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&results)
        coder.noTags()
    }
}

extension AlterUserScramCredentialsResponse: KafkaResponse {
    package static let apiKey = ApiKey.alterUserScramCredentials

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
