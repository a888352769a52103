// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ApiVersions (key 18).
//
// Versions: 0 to 4.
// Behaviour: answers the table of served APIs. The response's header is always version 0 (KIP-511), because the
//   client does not know yet what the broker speaks; an unknown version gets a version 0 body with
//   UNSUPPORTED_VERSION and the range of this API, from which the client picks one.
// Deviations from Kafka: none known.
// Notes: 3 is flexible and names the client's software, 4 fixes a feature's minimum version of 0 (KIP-1022).

import KafkaWire

enum ApiVersionsHandler: KafkaHandler {
    static func handle(_ request: ApiVersionsRequest, _ exchange: Exchange) {
        if exchange.version >= 3 {
            exchange.connection.software = (request.clientSoftwareName, request.clientSoftwareVersion)
        }
        exchange.reply(ApiVersionsResponse.served)
    }

    /// A version from the future.
    static func refuseVersion(_ exchange: Exchange) {
        exchange.reply(ApiVersionsResponse.unsupportedVersion, version: 0)
    }
}
