// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: quotas, which are not served and say so.

import Engine
import KafkaWire
import TestSupport
import Testing

@testable import KafkaServer

@Suite struct QuotaHandlersTests {
    let connection: TestConnection

    init() throws {
        connection = try TestConnection(try TestEngine())
    }

    private func component(_ type: String, _ match: Int8, _ name: String? = nil) -> DescribeClientQuotasRequest.Component {
        var component = DescribeClientQuotasRequest.Component()
        component.entityType = type
        component.matchType = match
        component.match = name
        return component
    }

    @Test(arguments: 0...1 as ClosedRange<Int16>)
    func quotaFiltersAreCheckedAndMatchNothing(version: Int16) throws {
        let cases: [([DescribeClientQuotasRequest.Component], KafkaErrorCode)] = [
            ([], .none), ([component("user", 0, "a"), component("client-id", 1)], .none), ([component("ip", 2)], .none),
            ([component("user", 0)], .invalidRequest), ([component("user", 1, "a")], .invalidRequest),
            ([component("user", 9)], .invalidRequest), ([component("", 2)], .invalidRequest),
            ([component("user", 2), component("user", 1)], .invalidRequest),
            ([component("ip", 2), component("user", 2)], .invalidRequest), ([component("group", 2)], .unsupportedVersion),
        ]
        for (components, expected) in cases {
            for strict in [false, true] {
                var request = DescribeClientQuotasRequest()
                request.components = components
                request.strict = strict
                let response = try connection.call(request, version: version)
                #expect(response.errorCode == expected)
                #expect((response.entries?.isEmpty ?? false) == (expected == .none))
            }
        }
    }

    @Test(arguments: 0...1 as ClosedRange<Int16>)
    func quotasAreNotTakenAndThenNotEnforced(version: Int16) throws {
        var entity = AlterClientQuotasRequest.Entity()
        entity.entityType = "user"
        entity.entityName = "a"
        var entry = AlterClientQuotasRequest.Entry()
        entry.entity = [entity]
        var request = AlterClientQuotasRequest()
        request.entries = [entry]
        let entries = try connection.call(request, version: version).entries
        #expect(entries.map(\.errorCode) == [.invalidRequest])
        #expect(entries[0].entity.map(\.entityName) == ["a"] && entries[0].errorMessage?.isEmpty == false)
    }
}
