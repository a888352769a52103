// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: what is served and advertised, and the traps of version negotiation.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct ApiTableTests {
    @Test func entriesAreInTheOrderOfTheirKeysAndFoundByKey() {
        let keys = ApiTable.entries.map(\.key.rawValue)
        #expect(keys == keys.sorted())
        #expect(Set(keys).count == keys.count)
        for entry in ApiTable.entries {
            #expect(ApiTable.entry(key: entry.key.rawValue)?.key == entry.key)
        }
    }

    @Test(arguments: [-1, 4, 7, 38, 59, 64, 93, 1000, Int16.max, Int16.min])
    func aKeyWithoutMessagesHasNoEntry(key: Int16) {
        #expect(ApiTable.entry(key: key)?.name == nil)
    }

    @Test func everyApiIsNamedAsItsMessages() {
        for message in CataloguedMessage.all {
            let suffix = message.isRequest ? "Request" : "Response"
            #expect(ApiTable.entry(message.apiKey).name + suffix == message.name)
        }
    }

    @Test func produceIsAdvertisedFromZeroAndRefusedBelowThree() throws {
        let entry = try #require(ApiTable.entry(key: 0))
        #expect(entry.advertised == 0...12)
        #expect(entry.versions == 3...12)
        #expect(throws: WireError.self) {
            var body = ByteBuffer(repeating: 0, count: 64)
            _ = try ProduceRequest(from: &body, version: 2)
        }
    }

    @Test func onlyProduceIsAdvertisedWithOtherVersionsThanItIsServed() {
        for entry in ApiTable.entries where entry.key != .produce {
            #expect(entry.advertised == entry.served, "\(entry.name)")
        }
    }

    /// Each row: an API and versions that some client insists on.
    @Test(arguments: [
        (ApiKey.joinGroup, [0, 1]),  // librdkafka before 2.11 with Kerberos
        (.findCoordinator, [0]),  // librdkafka takes LZ4 from it
        (.produce, [3, 7]), (.fetch, [4, 10]),  // librdkafka's message format 2 and zstd
        (.offsetCommit, [2]), (.offsetFetch, [1]),
        (.metadata, [0, 1]),  // kafka-python probes with them
        (.fetch, [12]),  // Java, as long as a partition has no topic id
        (.listOffsets, [1, 2]), (.createTopics, [7]), (.deleteTopics, [6]),
        (.initProducerId, [0, 1]),
    ] as [(ApiKey, [Int16])])
    func versionsThatClientsDependOnAreServed(key: ApiKey, versions: [Int16]) {
        for version in versions {
            #expect(ApiTable.entry(key).versions.contains(version), "\(key) \(version)")
        }
    }

    @Test func whatLibrdkafkaNeedsForConsumersIsServedAsAWhole() {
        let needed: Set<ApiKey> = [
            .findCoordinator, .offsetCommit, .offsetFetch, .joinGroup, .syncGroup, .heartbeat,
            .leaveGroup,
        ]
        let served = Set(ApiTable.served.map(\.key)).intersection(needed)
        #expect(served.isEmpty || served == needed)
    }

    @Test func apiVersionsAnswersWithHeaderZeroEvenWhereItIsFlexible() {
        let entry = ApiTable.entry(.apiVersions)
        for version in entry.versions { #expect(entry.responseHeaderVersion(version) == 0) }
        #expect(entry.requestHeaderVersion(3) == 2)
    }

    @Test func flexibleVersionsOfOtherApisHaveHeadersWithTags() {
        let entry = ApiTable.entry(.fetch)
        #expect(entry.requestHeaderVersion(11) == 1)
        #expect(entry.responseHeaderVersion(11) == 0)
        #expect(entry.requestHeaderVersion(12) == 2)
        #expect(entry.responseHeaderVersion(12) == 1)
    }

    @Test func apiVersionsSaysWhatTheTableSays() throws {
        var buffer = ByteBuffer()
        try ApiVersionsResponse.served.encode(into: &buffer, version: 3)
        let response = try ApiVersionsResponse(from: &buffer, version: 3)
        #expect(response.errorCode == .none)
        #expect(response.apiKeys.count == ApiTable.served.count)
        for (api, entry) in zip(response.apiKeys, ApiTable.served) {
            #expect(api.apiKey == entry.key.rawValue)
            #expect(api.minVersion...api.maxVersion == entry.advertised)
        }
    }

    @Test func whatIsOnlyDefinedIsNotAdvertised() {
        let advertised = Set(ApiVersionsResponse.served.apiKeys.map(\.apiKey))
        for entry in ApiTable.entries {
            #expect(advertised.contains(entry.key.rawValue) == entry.isServed, "\(entry.name)")
        }
    }

    @Test func anUnknownVersionOfApiVersionsIsAnsweredInVersionZeroWithItsOwnRange() throws {
        var buffer = ByteBuffer()
        try ApiVersionsResponse.unsupportedVersion.encode(into: &buffer, version: 0)
        // Error 35, one API: key 18, versions 0 to 4.
        #expect(buffer == ByteBuffer(bytes: [0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]))
    }
}
