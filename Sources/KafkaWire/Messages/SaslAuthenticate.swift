// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: SaslAuthenticate (key 36, versions 0-2; KIP-152): one step of a SASL
// exchange.
//
// The lifetime of the session since 1 (KIP-368).

import NIOCore

package struct SaslAuthenticateRequest: FieldStructure {
    /// The mechanism's own bytes.
    package var authBytes = ByteBuffer()

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.bytes(&authBytes)
        coder.noTags()
    }
}

extension SaslAuthenticateRequest: KafkaRequest {
    package typealias Response = SaslAuthenticateResponse
    package static let apiKey = ApiKey.saslAuthenticate

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct SaslAuthenticateResponse: FieldStructure {
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    /// The mechanism's own bytes.
    package var authBytes = ByteBuffer()
    /// Milliseconds after which the client has to authenticate again; 0 is never.
    package var sessionLifetimeMs: Int64 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        coder.bytes(&authBytes)
        if coder.version >= 1 { coder.int64(&sessionLifetimeMs) }
        coder.noTags()
    }
}

extension SaslAuthenticateResponse: KafkaResponse {
    package static let apiKey = ApiKey.saslAuthenticate

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
