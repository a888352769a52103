// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what settings of Apache Kafka, and other likely names, are called here.

enum ForeignSettings {
    private static let names: [String: String] = [
        "listeners": "`listen`, without protocols: the broker tells them apart", "advertised.listeners": "`advertise`",
        "log.dir": "`data`", "log.dirs": "`data`", "data.dir": "`data`", "broker.id": nothing, "node.id": nothing,
        "process.roles": nothing, "controller.quorum.voters": nothing, "controller.listener.names": nothing,
        "inter.broker.listener.name": nothing, "security.inter.broker.protocol": nothing, "zookeeper.connect": nothing,
        "listener.security.protocol.map": "nothing: the broker tells protocols apart, and `plaintext` says who needs TLS",
        "ssl.keystore.location": "`tls.cert` and `tls.key`, which are PEM files", "ssl.keystore.certificate.chain": "`tls.cert`, a file",
        "ssl.keystore.key": "`tls.key`, a file", "ssl.keystore.type": pem, "ssl.keystore.password": pem, "ssl.key.password": pem,
        "ssl.truststore.location": "`tls.ca`, a PEM file", "ssl.truststore.certificates": "`tls.ca`, a file",
        "ssl.truststore.type": pem, "ssl.truststore.password": pem, "ssl.client.auth": "`tls.client.auth`",
        "ssl.enabled.protocols": "`tls.min.version`", "ssl.protocol": "`tls.min.version`",
        "authorizer.class.name": "nothing: access rules are always there", "default.replication.factor": nothing,
        "tls.certificate": "`tls.cert`", "tls.certificate.file": "`tls.cert`", "tls.cert.file": "`tls.cert`", "tls.key.file": "`tls.key`",
        "tls.private.key": "`tls.key`", "tls.ca.file": "`tls.ca`", "tls.cacert": "`tls.ca`", "tls.crl": "`ssl.crl.location`",
    ]
    private static let nothing = "nothing: there is one broker"
    private static let pem = "nothing: files are PEM, and keys are not encrypted"

    /// "; here that is …", or nothing.
    static func hint(for key: String) -> String {
        names[key].map { "; here that is \($0)" } ?? ""
    }
}
