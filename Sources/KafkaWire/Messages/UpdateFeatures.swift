// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: UpdateFeatures (key 57, versions 0-2; KIP-584).
//
// A kind of upgrade instead of a flag, and a dry run, since 1; results per feature until 1.

import NIOCore

package struct UpdateFeaturesRequest: FieldStructure {
    package struct FeatureUpdate: FieldStructure, Equatable, Sendable {
        package var feature = ""
        /// The level to finalize; below 1 removes the feature.
        package var maxVersionLevel: Int16 = 0
        /// Version 0 only; `upgradeType` since.
        package var allowDowngrade = false
        /// 1 upgrade, 2 safe downgrade, 3 unsafe downgrade.
        package var upgradeType: Int8 = 1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&feature)
            coder.int16(&maxVersionLevel)
            if coder.version <= 0 { coder.bool(&allowDowngrade) }
            if coder.version >= 1 { coder.int8(&upgradeType) }
            coder.noTags()
        }
    }

    package var timeoutMs: Int32 = 60000
    package var featureUpdates: [FeatureUpdate] = []
    /// Check, change nothing.
    package var validateOnly = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&timeoutMs)
        coder.array(&featureUpdates)
        if coder.version >= 1 { coder.bool(&validateOnly) }
        coder.noTags()
    }
}

extension UpdateFeaturesRequest: KafkaRequest {
    package typealias Response = UpdateFeaturesResponse
    package static let apiKey = ApiKey.updateFeatures

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct UpdateFeaturesResponse: FieldStructure {
    package struct Result: FieldStructure, Equatable, Sendable {
        package var feature = ""
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&feature)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
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
        if coder.version <= 1 { coder.array(&results) }
        coder.noTags()
    }
}

extension UpdateFeaturesResponse: KafkaResponse {
    package static let apiKey = ApiKey.updateFeatures

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
