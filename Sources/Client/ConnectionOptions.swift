// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: where to connect, and how.

import Bytes
import Transport

/// The certificate files of a client, PEM.
package struct CertificateFiles: Equatable, Sendable {
    /// The CAs that the broker's certificate is checked against; nil: the machine's.
    package var authority: String?
    package var certificate: String?
    package var key: String?

    package init(authority: String?, certificate: String?, key: String?) {
        self.authority = authority
        self.certificate = certificate
        self.key = key
    }

    /// Loads the files.
    func context(applicationProtocols: [String]) throws(ClientError) -> TLSContext {
        do {
            return try TLSContext.client(
                TLSOptions(
                    authorityFile: authority, certificateFile: certificate, keyFile: key,
                    minimumVersion: .tls12, applicationProtocols: applicationProtocols))
        } catch {
            throw ClientError(.invalidArgument, error.message)
        }
    }
}

/// Where a broker is and how to speak to it.
package struct ConnectionOptions: Equatable, Sendable {
    package var endpoint: Endpoint
    /// nil: plaintext.
    package var certificates: CertificateFiles?
    /// nil: who the certificate says, or nobody.
    package var login: LoginName?
    package var connectTimeoutMs: Int64 = 10_000
    package var requestTimeoutMs: Int64 = 30_000
    /// The name a client gives itself in Kafka's requests and in logs.
    package var clientId = "martlet"

    package init(endpoint: Endpoint, certificates: CertificateFiles? = nil, login: LoginName? = nil) {
        self.endpoint = endpoint
        self.certificates = certificates
        self.login = login
    }
}

extension ConnectionOptions {
    /// Whether nobody on the way could read a password.
    var isSecret: Bool { certificates != nil || endpoint.host == "localhost" || isLoopback(endpoint.host) }

    /// What gRPC calls say about the caller.
    var authorization: String? {
        login.map { "Basic " + Base64.encode(Array("\($0.user):\($0.password)".utf8)) }
    }
}
