// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: how settings reach a configuration, and how slips are answered.

import Engine
import Glibc
import Testing
import Transport

@testable import Martlet

@Suite struct ConfigurationTests {
    private func load(
        _ arguments: [String] = [], environment: [(name: String, value: String)] = [],
        from defaults: Configuration = .production
    ) throws -> Configuration {
        let loader = ConfigurationLoader.load(defaults: defaults, arguments: arguments, environment: environment)
        if let first = loader.problems.first { throw first }
        return loader.configuration
    }

    private func message(_ body: () throws -> Void) throws -> String {
        try #require(throws: ConfigurationError.self) { try body() }.description
    }

    private func yaml(_ text: String) throws -> Configuration {
        var loader = ConfigurationLoader(.production)
        try loader.readYAML(text, name: "martlet.yaml")
        return loader.configuration
    }

    @Test func `A flag beats a variable, a variable beats the file, the file beats the default`() throws {
        try TemporaryFile.with("num.partitions: 2\nthreads: 2\ndata: /file\n") { path in
            let configuration = try load(
                ["--config", path, "--num-partitions", "4"],
                environment: [("MARTLET_NUM_PARTITIONS", "3"), ("MARTLET_THREADS", "3")])
            #expect(configuration.topicDefaults.partitions == 4)
            #expect(configuration.threads == 3)
            #expect(configuration.dataDirectory == "/file")
            #expect(configuration.topicDefaults.messageBytesMax == 1_048_588)
        }
    }

    @Test func `The file can be named by a variable, and a flag names another`() throws {
        try TemporaryFile.with("data: /one\n") { one in
            try TemporaryFile.with("data: /two\n") { two in
                let variable = [(name: "MARTLET_CONFIG", value: one)]
                let byVariable = try load(environment: variable)
                let byFlag = try load(["--config=\(two)"], environment: variable)
                #expect(byVariable.dataDirectory == "/one")
                #expect(byFlag.dataDirectory == "/two")
            }
        }
    }

    @Test(arguments: ["root", "User:", "User:root;admin", "Group:root", "User:a,b"])
    func `Super users are principals`(text: String) throws {
        guard text != "User:a,b" else { return #expect(try load(["--super-users", text]).superUsers == [text]) }
        #expect(try message { _ = try load(["--super-users", text]) }.contains("principals such as User:admin"))
    }

    @Test func `A list of super users, whose names may have commas`() throws {
        #expect(try yaml("super.users: ['User:CN=a,O=b', 'User:c ']\n").superUsers == ["User:CN=a,O=b", "User:c"])
        #expect(try load(["--super-users", " User:a; User:b"]).superUsers == ["User:a", "User:b"])
    }

    @Test func `A setting of one value takes no list`() throws {
        #expect(try message { _ = try yaml("data: [a, b]\n") } == "`data` at martlet.yaml:1 has one value, not a list of 2")
        #expect(try yaml("data: [a]\n").dataDirectory == "a")
    }

    @Test func `What no client could use is not advertised, and an audit topic has a topic's name`() throws {
        #expect(try message { _ = try load(["--advertise", "0.0.0.0:9092"]) }.contains("no address that a client could use"))
        #expect(try message { _ = try load(["--audit-topic", "or/ders"]) }.contains("`--audit-topic` must be a topic's name"))
    }

    @Test func `Passwords that are guessed first`() {
        #expect(PasswordWeakness(of: "Password") == .known && PasswordWeakness(of: "alice-of-the-hill", user: "Alice-of-the-hill") == .known)
        #expect(PasswordWeakness(of: "xY7-Qr") == .short && PasswordWeakness(of: "aaaaaaaaaaaaaa") == .short)
        #expect(PasswordWeakness(of: "Zq8-vN3~kT6.wB1+", user: "root") == nil)
    }

    @Test(arguments: Settings.all.map(\.key))
    func `Every setting takes back what it shows, by flag, by variable and by key`(key: String) throws {
        let setting = try #require(Settings.named(key))
        var changed = Configuration.fixture
        changed.tls = .init(certificate: "c.pem", key: "k.pem", authority: "a.pem")
        changed.tls.revocationLists = "r.pem"
        changed.principalSources = [.spiffe, .subject]
        changed.principalRules = #"RULE:^CN=(.*?),.*$/$1/L,DEFAULT"#
        changed.tokens.keyFile = "/keys.json"
        changed.tokens.audiences = ["martlet", "other"]
        changed.tokens.issuer = "https://issuer.example.org"
        changed.advertise = Address(host: "broker.example.org", port: 19092)
        changed.readyFile = "ready.json"
        changed.saslMechanisms = [.scramSHA512, .plain]
        changed.superUsers = ["User:CN=root,O=Example", "User:admin"]
        changed.corsAllowedOrigins = ["https://example.org"]
        changed.policy.url = "https://policy.example.org:8181/v1/data/kafka/authz/allow"
        changed.policy.authority = "policy.pem"
        changed.policy.tokenFile = "policy.token"
        changed.auditTopic = "audit"
        changed.maxConnectionsByAddress = ["10.0.0.7": 20, "::1": 500]
        let value = setting.show(changed)
        #expect(!value.isEmpty)
        var fromFile = ConfigurationLoader(.production)
        try fromFile.readYAML("\(key): \"\(value)\"", name: "martlet.yaml")
        #expect(setting.show(fromFile.configuration) == value)
        var fromVariable = ConfigurationLoader(.production)
        try fromVariable.readEnvironment([(setting.variable, value)])
        #expect(setting.show(fromVariable.configuration) == value)
        // Some settings are only good together with others, so all flags are given.
        let flags = Settings.all.map { "\($0.flag)=\($0.show(changed))" }
        #expect(setting.show(try load(flags)) == value)
    }

    @Test func `Limits of connections know an address however it is written`() throws {
        let limits = "--max-connections-per-ip-overrides=::ffff:10.0.0.7:20,10.0.0.8:9,::FFFF:a00:8:5,0:0::1:3"
        #expect(try load([limits]).connectionRules.perAddress == ["10.0.0.7": 20, "10.0.0.8": 5, "::1": 3])
    }

    @Test func `Settings for development work and are in no text`() throws {
        #expect(try load(["--x-disk-delay-ms", "20"]).diskDelayMs == 20)
        for setting in Settings.hidden {
            #expect(!ConfigurationReference.help(defaults: .development).contains(setting.flag))
            #expect(!ConfigurationReference.markdown.contains(setting.key))
        }
    }

    @Test func `Keys, flags and variables are unique`() {
        #expect(Set(Settings.all.map(\.key)).count == Settings.all.count)
        #expect(Set(Settings.all.map(\.flag)).count == Settings.all.count)
        #expect(Set(Settings.all.map(\.variable)).count == Settings.all.count)
    }

    @Test func `A switch needs no value and takes one`() throws {
        #expect(try load(["--ephemeral"]).isEphemeral)
        #expect(try load(["--ephemeral", "--port", "0"]).port == 0)
        #expect(try load(["--ephemeral=false"]).isEphemeral == false)
        #expect(try load(["--ephemeral", "false", "--port", "1"]).isEphemeral == false)
        #expect(try load(["--ephemeral", "true"]).isEphemeral)
    }

    @Test func `A negative number is a value`() throws {
        #expect(try load(["--log-retention-ms", "-1"]).topicDefaults.retentionMs == -1)
    }

    @Test(arguments: [
        ("retention.mss: 5", "unknown key `retention.mss` at martlet.yaml:1; see docs/configuration.md for all keys"),
        (
            "data: a\nlog.retention.mss: 5",
            "unknown key `log.retention.mss` at martlet.yaml:2; did you mean `log.retention.ms`?"
        ),
        ("log:\n  levle: info", "unknown key `log.levle` at martlet.yaml:2; did you mean `log.level`?"),
        ("port: http", "`port` at martlet.yaml:1 must be a whole number from 0 to 65535, not `http`"),
        ("\ndurability: ram", "`durability` at martlet.yaml:2 must be disk, os or memory, not `ram`"),
        ("ephemeral: maybe", "`ephemeral` at martlet.yaml:1 must be true or false, not `maybe`"),
        ("listen: a:b:c:d", nil),
        ("listen: 'host:port'", "`listen` at martlet.yaml:1 must be an address such as 127.0.0.1:9092, not `host:port`"),
        ("log.retention.ms: 7d", "`log.retention.ms` at martlet.yaml:1 must be a whole number from -1, such as 604800000, not `7d`"),
        ("log.segment.bytes: 512 MiB",
            "`log.segment.bytes` at martlet.yaml:1 must be a whole number from 14 to 2147483647, such as 536870912, not `512 MiB`"),
        ("log.segment.bytes: 4GB", "`log.segment.bytes` at martlet.yaml:1 must be a whole number from 14 to 2147483647, not `4GB`"),
        ("log.dirs: /x", "unknown key `log.dirs` at martlet.yaml:1; here that is `data`"),
        ("ssl.keystore.location: x", "unknown key `ssl.keystore.location` at martlet.yaml:1; here that is `tls.cert` and `tls.key`, which are PEM files"),
        ("threads: -1", "`threads` at martlet.yaml:1 must be a whole number from 0 to 256, not `-1`"),
        ("log.retention.ms: -2", "`log.retention.ms` at martlet.yaml:1 must be a whole number from -1, not `-2`"),
        (
            "ssl.principal.mapping.rules: RULE:a",
            "`ssl.principal.mapping.rules` at martlet.yaml:1 must be rules such as RULE:^CN=([^,]*),.*$/$1/L,DEFAULT "
                + "(`RULE:a` is not RULE:pattern/replacement/ with both slashes), not `RULE:a`"
        ),
        (
            "sasl.oauthbearer.jwks.endpoint.url: https://a/b",
            "`sasl.oauthbearer.jwks.endpoint.url` at martlet.yaml:1 must be a URL such as file:///etc/martlet/jwks.json, "
                + "not `https://a/b`"
        ),
        ("data: [", "martlet.yaml:2: this is not YAML: did not find expected node content while parsing a flow node"),
    ] as [(String, String?)])
    func `A slip in the file is answered with file, line, key and what to do`(
        text: String, expected: String?
    ) throws {
        guard let expected else {
            #expect(try yaml(text).listen == [Address(host: "a:b:c:d")])
            return
        }
        let refusal = try message { _ = try yaml(text) }
        #expect(refusal == expected)
    }

    @Test(arguments: [
        (["--prot", "1"], "unknown flag `--prot`; did you mean `--port`?"),
        (["--nonsense"], "unknown flag `--nonsense`; see --help for all flags"),
        (["--port"], "`--port` needs a value: --port 0-65535"),
        (["--port", "--ephemeral"], "`--port` needs a value: --port 0-65535"),
        (["--durability=tape"], "`--durability` must be disk, os or memory, not `tape`"),
        (["extra"], "unexpected `extra`; see --help for what can be set"),
        (["--tls-cert", "c.pem"], "`tls.cert` (--tls-cert) is set without `tls.key`; give both, or neither to use `certs`"),
        (["--tls-key", "k.pem"], "`tls.key` (--tls-key) is set without `tls.cert`; give both, or neither to use `certs`"),
        (
            ["--tls-key", "k.pem", "--tls-cert", "c.pem"],
            "`tls.ca` is not set beside `tls.cert` (--tls-cert), so no client certificate could be accepted; set it, or"
                + " `tls.client.auth: none`"
        ),
        (
            ["--group-min-session-timeout-ms", "2000000"],
            "`group.min.session.timeout.ms` (2000000, --group-min-session-timeout-ms) is above"
                + " `group.max.session.timeout.ms` (1800000, default); lower the one or raise the other"
        ),
        (
            ["--group-consumer-heartbeat-interval-ms", "45000"],
            "`group.consumer.heartbeat.interval.ms` (45000, --group-consumer-heartbeat-interval-ms) is not below"
                + " `group.consumer.session.timeout.ms` (45000, default); lower the one or raise the other"
        ),
        (
            ["--group-consumer-heartbeat-interval-ms", "9"],
            "`group.consumer.min.heartbeat.interval.ms` (5000, default) is above `group.consumer.heartbeat.interval.ms`"
                + " (9, --group-consumer-heartbeat-interval-ms); lower the one or raise the other"
        ),
        (
            ["--group-consumer-session-timeout-ms=99"],
            "`group.consumer.min.session.timeout.ms` (45000, default) is above `group.consumer.session.timeout.ms`"
                + " (99, --group-consumer-session-timeout-ms); lower the one or raise the other"
        ),
        (["--ephemeral", "maybe"], "unexpected `maybe`; see --help for what can be set"),
        (
            ["--config", "/nonexistent/martlet.yaml"],
            "cannot read the configuration /nonexistent/martlet.yaml: No such file or directory; "
                + "check the path and its permissions"
        ),
    ])
    func `A slip on the command line is answered with what to do`(arguments: [String], expected: String) throws {
        let refusal = try message { _ = try load(arguments) }
        #expect(refusal == expected)
    }

    @Test func `Every mistake is in the error of a configuration that is not accepted`() throws {
        let loader = ConfigurationLoader.load(defaults: .production, arguments: ["--port", "x", "--threads", "y"], environment: [])
        let said = try message { _ = try loader.accepted() }
        #expect(said.contains("`--port`") && said.contains("; and `--threads`"))
    }

    @Test func `A bad variable is refused by its name, an unknown one is pointed out`() throws {
        let bad = try message { _ = try load(environment: [("MARTLET_PORT", "x")]) }
        #expect(bad == "`MARTLET_PORT` must be a whole number from 0 to 65535, not `x`")
        let loader = ConfigurationLoader.load(
            defaults: .production, arguments: [],
            environment: [("MARTLET_PROT", "1"), ("MARTLET_BINARY", "/x"), ("HOME", "/")])
        #expect(
            loader.warnings == ["the variable MARTLET_PROT is not known and ignored; did you mean `MARTLET_PORT`?"])
    }

    @Test func `The variable that Kubernetes sets for a service called martlet is not a port`() throws {
        let loader = ConfigurationLoader.load(
            defaults: .production, arguments: [], environment: [("MARTLET_PORT", "tcp://10.0.0.1:9092")])
        #expect(loader.configuration == .production)
        #expect(loader.warnings.count == 1)
    }

    @Test func `A file that is no text and a file that is too large are refused`() throws {
        try TemporaryFile.with(bytes: [0x64, 0xff, 0xfe]) { path in
            let refusal = try message { _ = try load(["--config", path]) }
            #expect(refusal == "\(path) is not UTF-8 text; save it as UTF-8")
        }
        try TemporaryFile.with(bytes: [UInt8](repeating: 0x23, count: ConfigurationFile.bytesMax + 1)) { path in
            let refusal = try message { _ = try load(["--config", path]) }
            #expect(refusal.contains("is larger than 1 MiB"))
        }
    }

    @Test func `Development and production differ in what development is for, and in nothing else`() {
        let differing = Settings.all.filter { $0.show(.development) != $0.show(.production) }.map(\.key)
        #expect(
            differing == [
                "allow.everyone.if.no.acl.found", "auto.create.topics.enable", "group.initial.rebalance.delay.ms", "group.min.session.timeout.ms",
                "group.consumer.min.session.timeout.ms", "group.consumer.min.heartbeat.interval.ms",
            ])
    }

    @Test func `What share groups are configured to reaches the engine`() throws {
        let configuration = try load([
            "--group-share-delivery-count-limit", "3", "--group-share-record-lock-duration-ms", "2000",
            "--group-share-min-record-lock-duration-ms", "1000", "--group-share-max-record-lock-duration-ms", "40000",
            "--group-share-partition-max-record-locks", "150", "--group-share-session-timeout-ms", "9000",
            "--group-share-heartbeat-interval-ms", "700", "--group-share-max-size", "4", "--group-share-max-groups", "5",
            "--group-share-max-share-sessions", "6",
        ])
        let shares = configuration.engine.shares
        #expect(shares.deliveryCountLimit == 3 && shares.recordLockDurationMs == 2000 && shares.minRecordLockDurationMs == 1000)
        #expect(shares.maxRecordLockDurationMs == 40_000 && shares.partitionMaxRecordLocks == 150)
        #expect(shares.sessionTimeoutMs == 9000 && shares.heartbeatIntervalMs == 700)
        #expect(shares.membersMax == 4 && shares.groupsMax == 5 && shares.shareSessionsMax == 6)
        #expect(Configuration.production.engine.shares == ShareConfiguration())
    }

    @Test(arguments: [
        ["--group-share-record-lock-duration-ms", "2000"], ["--group-share-record-lock-duration-ms", "61000"],
        ["--group-share-delivery-count-limit", "1"], ["--group-share-delivery-count-limit", "11"],
        ["--group-share-heartbeat-interval-ms", "45000"], ["--group-share-max-groups", "0"],
    ])
    func `Settings of share groups that contradict each other or Kafka's bounds are refused`(arguments: [String]) throws {
        #expect(throws: ConfigurationError.self) { try load(arguments) }
    }

    @Test func `The port replaces that of the first address only`() throws {
        let configuration = try load(["--listen", "127.0.0.1:1, [::1]:2", "--port", "0"])
        #expect(configuration.listeners.map(\.description) == ["127.0.0.1:0", "[::1]:2"])
    }

    @Test func `The reference on disk is the table`() throws {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let text = try ConfigurationFile.read("/\(root)/docs/configuration.md")
        #expect(text == ConfigurationReference.markdown, "run `make docs`")
    }

    @Test func `Help names every flag`() {
        let help = ConfigurationReference.help(defaults: .development)
        for setting in Settings.all { #expect(help.contains("  \(setting.flag)")) }
    }
}

@Suite struct AddressTests {
    @Test(arguments: [
        ("127.0.0.1:9092", "127.0.0.1:9092"), ("localhost", "localhost:9092"), (":9093", "*:9093"), ("*:1", "*:1"),
        ("[::1]:1", "[::1]:1"), ("[::1]", "[::1]:9092"), ("::1", "[::1]:9092"), ("a.b-c:0", "a.b-c:0"),
    ])
    func `Addresses are read as people write them`(text: String, expected: String) {
        #expect(Address(text)?.description == expected)
    }

    @Test(arguments: ["", ":", "a:", "a:x", "a:-1", "a:+1", "a:65536", "[::1", "[a]:1", "[::1]x", "a b:1", "http://a:1", "é"])
    func `What is no address is refused`(text: String) {
        #expect(Address(text) == nil)
    }
}

@Suite struct SuggestionTests {
    @Test(arguments: [
        ("", "", 0), ("abc", "", 3), ("", "ab", 2), ("port", "prot", 1), ("kitten", "sitting", 3), ("ab", "ba", 1),
    ])
    func `Distance counts insertions, deletions, replacements and swaps`(left: String, right: String, expected: Int) {
        #expect(Suggestion.distance(left, right) == expected)
        #expect(Suggestion.distance(right, left) == expected)
    }

    @Test func `What is too far off is no suggestion`() {
        #expect(Suggestion.closest(to: "xyz", among: ["port", "data"]) == nil)
        #expect(Suggestion.closest(to: "dat", among: ["port", "data"]) == "data")
    }
}

/// A file that is there for the time of a closure.
enum TemporaryFile {
    static func with(_ text: String, _ body: (String) throws -> Void) throws {
        try with(bytes: Array(text.utf8), body)
    }

    static func with(bytes: [UInt8], _ body: (String) throws -> Void) throws {
        var template = Array("/tmp/martlet-test-XXXXXX".utf8CString)
        // SAFETY: the template is a live, NUL-terminated array that mkstemp changes in place.
        let descriptor = unsafe template.withUnsafeMutableBufferPointer { unsafe mkstemp($0.baseAddress!) }
        try #require(descriptor >= 0)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // SAFETY: the path is a C string for the duration of the call.
        defer { unsafe unlink(path) }
        // SAFETY: reads at most `count` bytes of the live array.
        let written = unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
        try #require(written == bytes.count)
        try body(path)
    }
}
