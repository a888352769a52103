// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ApiVersions (key 18, versions 0-4): which APIs a broker speaks.
//
// The first request of a connection, sent before the client knows what the broker understands. So a
// version from the future is answered in version 0 (`unsupportedVersion`), and the response header
// is always version 0 (`ApiTable`). The request's name and version of the client are since 3
// (KIP-511). The features (KIP-584) are tagged fields since 3.

import NIOCore

package struct ApiVersionsRequest: FieldStructure {
    package var clientSoftwareName = ""
    package var clientSoftwareVersion = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 3 {
            coder.string(&clientSoftwareName)
            coder.string(&clientSoftwareVersion)
        }
        coder.noTags()
    }
}

extension ApiVersionsRequest: KafkaRequest {
    package typealias Response = ApiVersionsResponse
    package static let apiKey = ApiKey.apiVersions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ApiVersionsResponse: FieldStructure {
    /// An API and the versions of it that the broker serves.
    package struct Api: FieldStructure, Equatable, Sendable {
        package var apiKey: Int16 = 0
        package var minVersion: Int16 = 0
        package var maxVersion: Int16 = 0

        package init() {}

        package init(_ entry: ApiTable.Entry) {
            apiKey = entry.key.rawValue
            minVersion = entry.advertised.lowerBound
            maxVersion = entry.advertised.upperBound
        }

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int16(&apiKey)
            coder.int16(&minVersion)
            coder.int16(&maxVersion)
            coder.noTags()
        }
    }

    package struct SupportedFeature: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var minVersion: Int16 = 0
        package var maxVersion: Int16 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int16(&minVersion)
            coder.int16(&maxVersion)
            coder.noTags()
        }
    }

    package struct FinalizedFeature: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var maxVersionLevel: Int16 = 0
        package var minVersionLevel: Int16 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int16(&maxVersionLevel)
            coder.int16(&minVersionLevel)
            coder.noTags()
        }
    }

    package var errorCode = KafkaErrorCode.none
    package var apiKeys: [Api] = []
    package var throttleTimeMs: Int32 = 0
    package var supportedFeatures: [SupportedFeature] = []
    package var finalizedFeaturesEpoch: Int64 = -1
    package var finalizedFeatures: [FinalizedFeature] = []
    package var zkMigrationReady = false

    package init() {}

    /// What is served, from `ApiTable`.
    package static let served: ApiVersionsResponse = {
        var response = ApiVersionsResponse()
        response.apiKeys = ApiTable.served.map(Api.init)
        return response
    }()

    /// The answer to an ApiVersions request in a version that is not served, to be encoded in
    /// version 0: the error, and the one range that the client needs to ask again.
    package static let unsupportedVersion: ApiVersionsResponse = {
        var response = ApiVersionsResponse()
        response.errorCode = .unsupportedVersion
        response.apiKeys = [Api(ApiTable.entry(.apiVersions))]
        return response
    }()

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.errorCode(&errorCode)
        coder.array(&apiKeys)
        if coder.version >= 1 { coder.int32(&throttleTimeMs) }
        var tags = coder.beginTags()
        while coder.next(&tags) {
            if coder.tag(0, &tags, present: !supportedFeatures.isEmpty) {
                coder.array(&supportedFeatures)
            }
            if coder.tag(1, &tags, present: finalizedFeaturesEpoch != -1) {
                coder.int64(&finalizedFeaturesEpoch)
            }
            if coder.tag(2, &tags, present: !finalizedFeatures.isEmpty) {
                coder.array(&finalizedFeatures)
            }
            if coder.tag(3, &tags, present: zkMigrationReady) {
                coder.bool(&zkMigrationReady)
            }
        }
    }
}

extension ApiVersionsResponse: KafkaResponse {
    package static let apiKey = ApiKey.apiVersions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
