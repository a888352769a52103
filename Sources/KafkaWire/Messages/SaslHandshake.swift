// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: SaslHandshake (key 17, versions 0-1; KIP-43): the client names its SASL
// mechanism.
//
// Never flexible. After version 0 the tokens follow as bare frames, after version 1 in
// SaslAuthenticate (KIP-152).

import NIOCore

package struct SaslHandshakeRequest: FieldStructure {
    package var mechanism = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&mechanism)
        coder.noTags()
    }
}

extension SaslHandshakeRequest: KafkaRequest {
    package typealias Response = SaslHandshakeResponse
    package static let apiKey = ApiKey.saslHandshake

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct SaslHandshakeResponse: FieldStructure {
    package var errorCode = KafkaErrorCode.none
    /// What the broker offers; also told when the client asked for another.
    package var mechanisms: [String] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.errorCode(&errorCode)
        coder.stringArray(&mechanisms)
        coder.noTags()
    }
}

extension SaslHandshakeResponse: KafkaResponse {
    package static let apiKey = ApiKey.saslHandshake

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
