// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the header in front of every request.
//
// Its version follows from API and version, which are its own first fields: 2 (with tagged fields)
// for flexible versions, else 1. The client id keeps its two-byte length in both, so that a broker
// can read the header of an ApiVersions request from the future. Version 0 (no client id) belonged
// to ControlledShutdown alone and is not spoken to clients.

import NIOCore

package struct RequestHeader: Equatable, Sendable {
    /// The API as sent; it may be one nobody knows.
    package var apiKey: Int16 = 0
    package var apiVersion: Int16 = 0
    package var correlationId: Int32 = 0
    package var clientId: String?

    package init(_ apiKey: ApiKey, version: Int16, correlationId: Int32, clientId: String?) {
        self.apiKey = apiKey.rawValue
        self.apiVersion = version
        self.correlationId = correlationId
        self.clientId = clientId
    }

    /// Reads the header from the front of `buffer`, leaving the body. The header of an API or
    /// version unknown here is read up to the client id, enough to answer it.
    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self.init()
        let isFlexible = Self.isFlexible(
            apiKey: buffer.getInteger(at: buffer.readerIndex) ?? -1,
            version: buffer.getInteger(at: buffer.readerIndex + 2) ?? 0)
        self = try FieldDecoder.decode(
            Self.self, from: &buffer, version: isFlexible ? 2 : 1, isFlexible: isFlexible)
    }

    /// Appends the header to `buffer`.
    package func encode(into buffer: inout ByteBuffer) throws(WireError) {
        let isFlexible = Self.isFlexible(apiKey: apiKey, version: apiVersion)
        try FieldEncoder.encode(
            self, into: &buffer, version: isFlexible ? 2 : 1, isFlexible: isFlexible)
    }

    private static func isFlexible(apiKey: Int16, version: Int16) -> Bool {
        ApiTable.entry(key: apiKey)?.isFlexible(version) ?? false
    }
}

extension RequestHeader: FieldStructure {
    init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int16(&apiKey)
        coder.int16(&apiVersion)
        coder.int32(&correlationId)
        coder.shortString(&clientId)
        coder.noTags()
    }
}
