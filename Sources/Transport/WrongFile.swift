// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what a file is that was to hold a certificate or a key in PEM and does not.
//
// People name the wrong one of several files, or one in another format. What is in it is told by its labels and its first
// bytes, with the command that makes of it what is wanted. Nothing of its content gets into the text.

/// What was found instead, and what to do.
struct WrongFile: Equatable {
    var found: String
    var next: String

    enum Wanted { case certificate, key }

    /// Of a file in which nothing was found that was wanted.
    init(_ content: [UInt8], _ file: String, wanted: Wanted) {
        let labels = Self.labels(content)
        func has(_ part: String) -> Bool { labels.contains { $0.contains(part) } }
        switch wanted {
        case _ where content.isEmpty:
            self.init("it is empty", "write it again")
        case _ where content.starts(with: [0xff, 0xfe]) || content.starts(with: [0xfe, 0xff]):
            self.init("it is UTF-16 text", "save it as UTF-8")
        case _ where content.starts(with: [0xfe, 0xed, 0xfe, 0xed]):
            self.init(
                "it is a Java keystore (JKS)", "make a PKCS #12 file of it (`keytool -importkeystore -srckeystore \(file) "
                    + "-destkeystore \(file).p12 -deststoretype pkcs12`), and PEM files of that with `openssl pkcs12`")
        case _ where Self.isPKCS12(content):
            self.init(
                "it is a PKCS #12 file, not PEM", "`openssl pkcs12 -in \(file) "
                    + (wanted == .certificate ? "-nokeys -out tls.crt`" : "-nocerts -nodes -out tls.key`") + " makes one")
        case _ where content.first == 0x30:
            self.init(
                "it is DER, not PEM", "`openssl \(wanted == .certificate ? "x509" : "pkey") -inform DER -in \(file) -out \(file).pem` makes one")
        case .certificate where has("BEGIN CERTIFICATE-"):
            self.init("no certificate in it whose lines begin where the line does", "remove what is before -----BEGIN CERTIFICATE----- and the other lines")
        case .certificate where has("BEGIN CERTIFICATE REQUEST") || has("BEGIN NEW CERTIFICATE REQUEST"):
            self.init("no certificate in it, but a request for one (CSR)", "have a CA sign it, and name the file that comes of it")
        case .certificate where has("BEGIN PKCS7"):
            self.init("no certificate in it, but PKCS #7", "`openssl pkcs7 -in \(file) -print_certs -out tls.crt` makes PEM of it")
        case .certificate where has("PRIVATE KEY-"):
            self.init("no certificate in it, but a private key", "name the certificate's file: perhaps certificate and key were exchanged")
        case .certificate:
            self.init("no certificate in it", "it must be PEM, with -----BEGIN CERTIFICATE-----")
        case .key where has("ENCRYPTED") || Self.contains(content, "Proc-Type: 4,ENCRYPTED"):
            self.init("it is encrypted", "decrypt it with `openssl pkey -in \(file) -out \(file).open`, and name that file (mode 0600)")
        case .key where has("BEGIN OPENSSH PRIVATE KEY"):
            self.init("it is a key of SSH", "`ssh-keygen -p -m PKCS8 -N '' -f \(file)` makes PEM of it, in place")
        case .key where has("PRIVATE KEY-"):
            self.init("a damaged private key in it", "copy the file again, whole")
        case .key where has("BEGIN PUBLIC KEY") || has("BEGIN RSA PUBLIC KEY"):
            self.init("no private key in it, but a public one", "name the private key's file")
        case .key where has("BEGIN CERTIFICATE-"):
            self.init("no private key in it, but a certificate", "name the key's file: perhaps certificate and key were exchanged")
        case .key:
            self.init("no private key in it", "it must be PEM, with -----BEGIN PRIVATE KEY-----")
        }
    }

    private init(_ found: String, _ next: String) {
        self.found = found
        self.next = next
    }

    /// Whether it could be a secret: one of PEM, or something that is no PEM at all.
    static func hasKey(_ content: [UInt8]) -> Bool {
        let labels = labels(content)
        return labels.isEmpty || labels.contains { $0.contains("PRIVATE KEY-") }
    }

    /// The lines that begin something, wherever they begin themselves.
    private static func labels(_ content: [UInt8]) -> [String] {
        content.split(separator: UInt8(ascii: "\n"))
            .map { $0.prefix(80).drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") } }
            .filter { $0.starts(with: Array("-----BEGIN ".utf8)) }
            .map { String(decoding: $0, as: UTF8.self) }
    }

    private static func contains(_ content: [UInt8], _ text: String) -> Bool {
        content.split(separator: UInt8(ascii: "\n")).contains { $0.starts(with: Array(text.utf8)) }
    }

    /// A sequence that begins with version 3: nothing else that is kept in such files does.
    private static func isPKCS12(_ content: [UInt8]) -> Bool {
        guard content.first == 0x30, content.count > 8 else { return false }
        let lengthBytes = content[1] < 0x80 ? 0 : Int(content[1] & 0x7f)
        return content.dropFirst(2 + lengthBytes).starts(with: [0x02, 0x01, 0x03])
    }
}
