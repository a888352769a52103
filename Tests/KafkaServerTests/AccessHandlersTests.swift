// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: access, credentials and quotas, which are not served and say so.

import Engine
import KafkaWire
import TestSupport
import Testing

@testable import KafkaServer

@Suite struct AccessHandlersTests {
    let connection: TestConnection

    init() throws {
        connection = try TestConnection(try TestEngine())
    }

    @Test(arguments: 1...3 as ClosedRange<Int16>)
    func withoutAnAuthoriserThereAreNoAcls(version: Int16) throws {
        #expect(try connection.call(DescribeAclsRequest(), version: version).errorCode == .securityDisabled)
        var creation = CreateAclsRequest()
        creation.creations = [.init(), .init()]
        let created = try connection.call(creation, version: version).results
        #expect(created.map(\.errorCode) == [.securityDisabled, .securityDisabled])
        #expect(created[0].errorMessage == "No Authorizer is configured.")
        var deletion = DeleteAclsRequest()
        deletion.filters = [.init()]
        #expect(try connection.call(deletion, version: version).filterResults.map(\.errorCode) == [.securityDisabled])
        creation.creations = []
        #expect(try connection.call(creation, version: version).results.isEmpty)
    }

    @Test func nobodyHasCredentials() throws {
        var request = DescribeUserScramCredentialsRequest()
        #expect(try connection.call(request, version: 0).results.isEmpty)
        request.users = ["b", "a", "b", ""].map { name in
            var user = DescribeUserScramCredentialsRequest.User()
            user.name = name
            return user
        }
        let results = try connection.call(request, version: 0).results
        #expect(results.map(\.user) == ["", "a", "b"])
        #expect(results.map(\.errorCode) == [.resourceNotFound, .resourceNotFound, .duplicateResource])
    }

    @Test func credentialsAreNotTakenAndThenForgotten() throws {
        var upsertion = AlterUserScramCredentialsRequest.Upsertion()
        upsertion.name = "a"
        var deletion = AlterUserScramCredentialsRequest.Deletion()
        deletion.name = "b"
        var request = AlterUserScramCredentialsRequest()
        request.upsertions = [upsertion]
        request.deletions = [deletion]
        let results = try connection.call(request, version: 0).results
        #expect(results.map(\.errorCode) == [.unsupportedSaslMechanism, .resourceNotFound])
        #expect(results.allSatisfy { $0.errorMessage?.isEmpty == false })
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

    @Test func saslIsRefusedAndTheConnectionStays() throws {
        for version: Int16 in 0...1 {
            var request = SaslHandshakeRequest()
            request.mechanism = "PLAIN"
            let response = try connection.call(request, version: version)
            #expect(response.errorCode == .illegalSaslState && response.mechanisms.isEmpty)
        }
        for version: Int16 in 0...2 {
            #expect(try connection.call(SaslAuthenticateRequest(), version: version).errorCode == .illegalSaslState)
        }
        #expect(connection.isOpen)
    }
}
