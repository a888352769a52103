// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ApiVersions (key 18).
//
// Versions: 0 to 4.
// Behaviour: answers the table of served APIs and the broker's features, supported and in force. The response's header
//   is always version 0 (KIP-511), because the client does not know yet what the broker speaks; an unknown version
//   gets a version 0 body with UNSUPPORTED_VERSION and the range of this API, from which the client picks one. A
//   client whose software name or version is not a word gets INVALID_REQUEST.
// Deviations from Kafka: eligible.leader.replicas.version is left out; one node has no replicas to elect.
// Notes: 3 is flexible, names the client's software and shows features (KIP-584), without those whose minimum is 0,
//   which older clients cannot read (KAFKA-17492); 4 shows all (KIP-1022).

import Engine
import KafkaWire

enum ApiVersionsHandler: KafkaHandler {
    static func handle(_ request: ApiVersionsRequest, _ exchange: Exchange) {
        guard exchange.version < 3 || isWord(request.clientSoftwareName) && isWord(request.clientSoftwareVersion) else {
            var response = ApiVersionsResponse()
            response.errorCode = .invalidRequest
            return exchange.reply(response)
        }
        var response = ApiVersionsResponse.served
        if exchange.version >= 3 {
            exchange.connection.software = (request.clientSoftwareName, request.clientSoftwareVersion)
            describe(exchange.engine.features.current, in: &response, exchange.version)
        }
        exchange.reply(response)
    }

    /// A version from the future.
    static func refuseVersion(_ exchange: Exchange) {
        exchange.reply(ApiVersionsResponse.unsupportedVersion, version: 0)
    }

    private static func describe(
        _ current: Features.Levels, in response: inout ApiVersionsResponse, _ version: Int16
    ) {
        response.supportedFeatures = Feature.allCases.compactMap { feature in
            if feature.supported.lowerBound == 0, version < 4 { return nil }
            var supported = ApiVersionsResponse.SupportedFeature()
            supported.name = feature.rawValue
            supported.minVersion = feature.supported.lowerBound
            supported.maxVersion = feature.supported.upperBound
            return supported
        }
        response.finalizedFeaturesEpoch = current.epoch
        response.finalizedFeatures = current.finalized.map { name, level in
            var finalized = ApiVersionsResponse.FinalizedFeature()
            finalized.name = name
            finalized.maxVersionLevel = level
            finalized.minVersionLevel = level
            return finalized
        }
    }

    /// Letters and digits, with dots and dashes between them.
    private static func isWord(_ text: String) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: false
            }
        }
        guard let first = text.utf8.first, let last = text.utf8.last else { return false }
        return isAlphanumeric(first) && isAlphanumeric(last)
            && text.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
    }
}
