// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: what a listener has of its own, and what it has in common with the others.

import Engine
import GRPCServer
import KafkaServer
import Security
import Testing
import Transport

@testable import Martlet

@Suite struct ListenerSettingsTests {
    private let text = """
        listen: [127.0.0.1:1, APPS://0.0.0.0:2, "team://[::1]:3"]
        plaintext: never
        sasl.enabled.mechanisms: PLAIN
        listener.name:
          apps: { plaintext: anywhere, sasl.enabled.mechanisms: none }
          team.tls.client.auth: requested
          team.sasl.enabled.mechanisms: [SCRAM-SHA-256, SCRAM-SHA-512]
        """

    private func load(
        _ arguments: [String], environment: [(name: String, value: String)] = []
    ) throws -> Configuration {
        let loader = ConfigurationLoader.load(defaults: .production, arguments: arguments, environment: environment)
        if let first = loader.problems.first { throw first }
        return loader.configuration
    }

    private func message(_ arguments: [String]) throws -> String {
        try #require(throws: ConfigurationError.self) { try load(arguments) }.description
    }

    @Test func `A listener has its own rules, and those of all where it has none`() throws {
        var loader = ConfigurationLoader(.production)
        try loader.readYAML(text, name: "martlet.yaml")
        let policies = loader.configuration.listenerPolicies
        #expect(policies.map(\.address.name) == [nil, "apps", "team"])
        #expect(policies.map(\.address.description) == ["127.0.0.1:1", "0.0.0.0:2", "[::1]:3"])
        #expect(policies.map(\.plaintext) == [.never, .anywhere, .never])
        #expect(policies.map(\.clientAuthentication) == [.required, .required, .requested])
        #expect(policies.map(\.saslMechanisms) == [[.plain], [], [.scramSHA256, .scramSHA512]])
        #expect(policies.map(\.wantsLoginOfAll) == [true, true, false])
        #expect(loader.configuration.logins["apps"].mechanisms.isEmpty)
        #expect(loader.configuration.logins["127.0.0.1:1"].mechanisms == [.plain])
        #expect(loader.configuration.callLogins["team"].passwords && !loader.configuration.callLogins["apps"].passwords)
    }

    @Test(arguments: ListenerSettings.all(of: "team").map(\.key))
    func `What is shown is taken back, by flag, by variable and by key`(key: String) throws {
        let setting = try #require(Settings.named(key))
        var changed = Configuration.production
        changed.listen = [Address(host: "h", name: "team")]
        changed[listener: "team"].plaintext = .anywhere
        changed[listener: "team"].clientAuthentication = Configuration.ClientAuthentication.none
        changed[listener: "team"].saslMechanisms = []
        changed[listener: "team"].saslRequired = .withoutCertificate
        let value = setting.show(changed)
        #expect(!value.isEmpty)
        let listen = ["--listen", "team://h"]
        #expect(setting.show(try load(listen + ["\(setting.flag)=\(value)"])) == value)
        #expect(setting.show(try load(listen, environment: [(setting.variable, value)])) == value)
        var fromFile = ConfigurationLoader(.production)
        try fromFile.readYAML("\(key): \"\(value)\"", name: "martlet.yaml")
        #expect(setting.show(fromFile.configuration) == value)
        // A change of it is seen, and needs a restart.
        var running = Configuration.production
        #expect(try ConfigurationChange(&running, wanted: changed).needsRestart.contains(key))
    }

    @Test func `Names are written back`() throws {
        let configuration = try load(["--listen", "Team://0.0.0.0:1,[::1]:2", "--port", "7"])
        #expect(try #require(Settings.named("listen")).show(configuration) == "team://0.0.0.0:1,[::1]:2")
        #expect(configuration.listeners.map(\.name) == ["team", nil])
        #expect(configuration.engine.otherSettings["listeners"] == "TEAM://0.0.0.0:7,PLAINTEXT://[::1]:2")
    }

    @Test(arguments: [
        (["--listen", "a-b://h:1"], "`--listen` must be addresses whose names are letters and digits, such as team://0.0.0.0:9093, not `a-b://h:1`"),
        (["--listen", "a://h:1,A://h:2"], "`listen` (--listen) has two listeners of the name a; name them differently"),
        (
            ["--listener-name-team-tls-client-auth", "none"],
            "`listener.name.team.tls.client.auth` (--listener-name-team-tls-client-auth) is for a listener that `listen` does not have;"
                + " name it there: team://host:port"
        ),
        (["--listener-name-team-tls-client-aut", "none"], "unknown flag `--listener-name-team-tls-client-aut`; did you mean `--listener-name-team-tls-client-auth`?"),
        (
            ["--listen", "a://h:1", "--listener-name-a-plaintext", "no"],
            "`--listener-name-a-plaintext` must be never, loopback or anywhere, not `no`"
        ),
        (
            ["--listen", "a://h:1", "--sasl-enabled-mechanisms", "PLAIN", "--listener-name-a-sasl-enabled-mechanisms", "OAUTHBEARER"],
            "`listener.name.a.sasl.enabled.mechanisms` (--listener-name-a-sasl-enabled-mechanisms) has OAUTHBEARER without"
                + " `sasl.oauthbearer.jwks.endpoint.url`; say where the keys are"
        ),
        (
            ["--tls-client-auth", "none", "--tls-cert", "c", "--tls-key", "k", "--listen", "a://h:1", "--listener-name-a-tls-client-auth", "requested"],
            "`tls.ca` is not set beside `tls.cert` (--tls-cert), so no client certificate could be accepted; set it, or"
                + " `tls.client.auth: none`"
        ),
        (
            ["--sasl-required", "always"],
            "`sasl.required: always` (--sasl-required) asks everybody on 127.0.0.1:9092 for a login, and there is no way to"
                + " log in; set `sasl.enabled.mechanisms`"
        ),
        (
            ["--listen", "a://h:1", "--listener-name-a-sasl-required", "always"],
            "`sasl.required: always` (--listener-name-a-sasl-required) asks everybody on a for a login, and there is no way to"
                + " log in; set `listener.name.a.sasl.enabled.mechanisms`"
        ),
    ])
    func `A slip is answered with what to do`(arguments: [String], expected: String) throws {
        #expect(try message(arguments) == expected)
    }

    @Test func `A listener that offers no logins itself is left in peace`() throws {
        let configuration = try load([
            "--sasl-required", "always", "--sasl-enabled-mechanisms", "PLAIN", "--listen", "h:1,a://h:2",
            "--listener-name-a-sasl-enabled-mechanisms", "none",
        ])
        #expect(configuration.listenerPolicies.map(\.saslMechanisms) == [[.plain], []])
    }
}
