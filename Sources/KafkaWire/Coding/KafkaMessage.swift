// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the entry points that every request and response has.
//
// They are requirements that each message fulfils with functions of its own, in this module, and
// not extensions of the protocol: so a caller in another module crosses the border once per message
// into specialised code, even from generic code.

import NIOCore

/// A request or a response body, without its header.
package protocol KafkaMessage: Equatable, Sendable {
    static var apiKey: ApiKey { get }
    /// All fields at their defaults.
    init()
    /// Reads the body from the front of `buffer` and moves its reader index past it. Fields that
    /// `version` does not have keep their defaults.
    init(from buffer: inout ByteBuffer, version: Int16) throws(WireError)
    /// Appends the body to `buffer`. Fields that `version` does not have are ignored.
    func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError)
}

package protocol KafkaResponse: KafkaMessage {}

package protocol KafkaRequest: KafkaMessage {
    associatedtype Response: KafkaResponse
}

extension KafkaMessage where Self: FieldStructure {
    @inline(__always)
    static func decode(from buffer: inout ByteBuffer, version: Int16) throws(WireError) -> Self {
        try FieldDecoder.decode(
            Self.self, from: &buffer, version: version, isFlexible: isFlexible(version))
    }

    @inline(__always)
    func encodeFields(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try FieldEncoder.encode(
            self, into: &buffer, version: version, isFlexible: Self.isFlexible(version))
    }

    /// Whether `version` is flexible; an error if it is not defined at all.
    static func isFlexible(_ version: Int16) throws(WireError) -> Bool {
        let entry = ApiTable.entry(apiKey)
        guard entry.versions.contains(version) else {
            throw WireError(
                .unsupportedVersion(version), offset: 0, message: String(describing: Self.self))
        }
        return entry.isFlexible(version)
    }
}
