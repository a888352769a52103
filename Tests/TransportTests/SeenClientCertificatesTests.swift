// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: the client certificates that were seen last.

import Testing

@testable import Transport

@Suite struct SeenClientCertificatesTests {
    private func certificate(_ subject: String, expiresMs: Int64) -> PeerCertificate {
        PeerCertificate(subject: subject, issuer: "CN=ca", notBeforeMs: 0, notAfterMs: expiresMs, serial: "\(expiresMs)")
    }

    @Test func `A successor takes the place of a subject's earlier certificate`() {
        let seen = SeenClientCertificates()
        seen.note(certificate("CN=b", expiresMs: 500))
        seen.note(certificate("CN=a", expiresMs: 900))
        #expect(seen.all(nowMs: 0).map(\.notAfterMs) == [500, 900])
        seen.note(certificate("CN=b", expiresMs: 1000))
        #expect(seen.all(nowMs: 0).map(\.notAfterMs) == [900, 1000])
    }

    @Test func `An expired one is forgotten after a day`() {
        let seen = SeenClientCertificates()
        seen.note(certificate("CN=a", expiresMs: 1000))
        #expect(seen.all(nowMs: 86_400_000).count == 1)
        #expect(seen.all(nowMs: 86_401_000).isEmpty)
    }

    @Test func `Beyond the bound the one that was not seen for longest is forgotten`() {
        let seen = SeenClientCertificates()
        for number in 0...SeenClientCertificates.countMax {
            seen.note(certificate("CN=\(number)", expiresMs: Int64(number) + 1))
            seen.note(certificate("CN=0", expiresMs: 1))
        }
        let subjects = seen.all(nowMs: 0).map(\.subject)
        #expect(subjects.count == SeenClientCertificates.countMax)
        #expect(subjects.contains("CN=0") && !subjects.contains("CN=1"))
    }
}
