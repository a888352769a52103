// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the header in front of every response: a correlation id, and in version 1
// (flexible responses other than ApiVersions) tagged fields.

import NIOCore

package struct ResponseHeader: Equatable, Sendable {
    package var correlationId: Int32 = 0

    package init(correlationId: Int32) {
        self.correlationId = correlationId
    }

    /// Reads the header of a response to `apiKey` in `version`, leaving the body.
    package init(
        from buffer: inout ByteBuffer, to apiKey: ApiKey, version: Int16
    ) throws(WireError) {
        let headerVersion = ApiTable.entry(apiKey).responseHeaderVersion(version)
        self = try FieldDecoder.decode(
            Self.self, from: &buffer, version: headerVersion, isFlexible: headerVersion == 1)
    }

    /// Appends the header of a response to `apiKey` in `version`.
    package func encode(
        into buffer: inout ByteBuffer, to apiKey: ApiKey, version: Int16
    ) throws(WireError) {
        let headerVersion = ApiTable.entry(apiKey).responseHeaderVersion(version)
        try FieldEncoder.encode(
            self, into: &buffer, version: headerVersion, isFlexible: headerVersion == 1)
    }
}

extension ResponseHeader: FieldStructure {
    init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&correlationId)
        coder.noTags()
    }
}
