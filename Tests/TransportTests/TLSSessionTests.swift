// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: handshakes, refusals and data, without any I/O.

import Bytes
import NIOCore
import Testing

@testable import Transport

@Suite("A TLS handshake")
struct TLSHandshakeTests {
    let authority = TestAuthority.shared

    @Test("ends on both sides, in TLS 1.3, and the server learns who the client is")
    func mutual() throws {
        var pair = try TLSPair(client: authority.clientContext(), server: authority.serverContext())
        pair.run()
        let server = try #require(pair.serverOutcome.handshake)
        let client = try #require(pair.clientOutcome.handshake)
        #expect(server.version == "TLSv1.3")
        #expect(server.cipher == "TLS_AES_128_GCM_SHA256")
        #expect(server.peerCertificate?.subject == "CN=client")
        #expect(server.serverName == "localhost")
        #expect(server.applicationProtocol == nil)
        #expect(!server.isResumed)
        #expect(client.peerCertificate?.subject == "CN=localhost")
        #expect(client.peerCertificate?.alternativeNames.contains(.address("::1")) == true)
    }

    @Test("ends as well when every byte arrives alone")
    func byteByByte() throws {
        var pair = try TLSPair(
            client: authority.clientContext(["h2"]), server: authority.serverContext())
        pair.stepBytes = 1
        pair.run()
        #expect(pair.serverOutcome.handshake?.applicationProtocol == "h2")
        #expect(pair.clientOutcome.handshake?.applicationProtocol == "h2")
    }

    static let offers: [([String], String?)] = [
        ([], nil), (["h2"], "h2"), (["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2"),
        (["spdy/3", "http/1.1"], "http/1.1"),
    ]

    @Test("chooses the application protocol by the server's preference", arguments: offers)
    func applicationProtocol(offered: [String], chosen: String?) throws {
        var pair = try TLSPair(
            client: authority.clientContext(offered), server: authority.serverContext())
        pair.run()
        let server = try #require(pair.serverOutcome.handshake)
        #expect(server.applicationProtocol == chosen)
        #expect(pair.clientOutcome.handshake?.applicationProtocol == chosen)
    }

    @Test("fails when the client offers only application protocols that are not spoken here")
    func unknownApplicationProtocol() throws {
        var pair = try TLSPair(
            client: authority.clientContext(["smtp"]), server: authority.serverContext())
        pair.run()
        let error = try #require(pair.serverOutcome.error)
        #expect(error.code == .applicationProtocol)
        #expect(error.message.contains("\"smtp\"") && error.message.contains("h2, http/1.1"))
        #expect(pair.clientOutcome.error?.message.contains("no application protocol") == true)
    }

    @Test("resumes a session by its ticket, and the client is still known")
    func resumption() throws {
        let client = try authority.clientContext()
        let server = try authority.serverContext()
        var first = try TLSPair(client: client, server: server)
        first.run()
        let ticket = try #require(first.client.resumption)
        var second = try TLSPair(client: client, server: server, resuming: ticket)
        second.run()
        let handshake = try #require(second.serverOutcome.handshake)
        #expect(handshake.isResumed)
        #expect(handshake.peerCertificate?.subject == "CN=client")
        #expect(handshake.serverName == "localhost")
        #expect(second.clientOutcome.handshake?.isResumed == true)
    }

    @Test("does not resume after the certificates were reloaded")
    func resumptionAfterReload() throws {
        let client = try authority.clientContext()
        var first = try TLSPair(client: client, server: authority.serverContext())
        first.run()
        var second = try TLSPair(
            client: client, server: authority.serverContext(), resuming: first.client.resumption)
        second.run()
        #expect(second.serverOutcome.handshake?.isResumed == false)
    }

    /// A ticket of that age, counted from the first handshake of `server`.
    private func resumes(_ ticket: TLSResumption?, _ server: TLSContext) throws -> Bool? {
        var pair = try TLSPair(client: authority.clientContext(), server: server, resuming: ticket)
        pair.run()
        return pair.serverOutcome.handshake?.isResumed
    }

    private func ticket(_ server: TLSContext) throws -> TLSResumption {
        var pair = try TLSPair(client: authority.clientContext(), server: server)
        pair.run()
        return try #require(pair.client.resumption)
    }

    @Test("seals tickets with a new key every twelve hours, and resumes those of the key before")
    func ticketKeys() throws {
        let clock = authority.clock()
        let server = try authority.serverContext(clock: clock)
        let hourMs: Int64 = 3_600_000
        let first = try ticket(server)
        clock.advance(ms: 12 * hourMs - 1)
        let last = try ticket(server)
        #expect(try resumes(first, server) == true, "the same key all the time")
        clock.advance(ms: 2)
        // Everybody shares the context, so this is a connection of any event loop.
        let next = try ticket(server)
        #expect(try resumes(last, server) == true, "the key before")
        clock.advance(ms: 2 * hourMs)
        #expect(try resumes(last, server) == false, "its last ticket is too old by now")
        #expect(try resumes(first, server) == false)
        #expect(try resumes(next, server) == true)
    }

    @Test("forgets a ticket key when nobody connects any more")
    func ticketKeyForgotten() throws {
        let clock = authority.clock()
        let server = try authority.serverContext(clock: clock)
        weak var key: SessionTicketKey?
        key = server.ticketKeys.sealing(nowMs: server.monotonicMs)
        #expect(key != nil)
        clock.advance(ms: SessionTicketKeys.sealingMs)
        server.rotateTicketKeys()
        #expect(key != nil, "tickets of a moment ago are good")
        clock.advance(ms: SessionTicketKeys.ticketMs)
        server.rotateTicketKeys()
        #expect(key == nil)
    }

    @Test("resumes TLS 1.2 with a ticket of the key before, and not with one of a forgotten key")
    func ticketKeysOf12() throws {
        let clock = authority.clock()
        let server = try authority.serverContext(minimum: .tls12, clock: clock)
        var options = authority.clientOptions(["h2"], minimum: .tls12)
        options.maximumVersion = .tls12
        let client = try TLSContext.client(options, clock: clock)
        func run(_ ticket: TLSResumption?) throws -> (isResumed: Bool?, ticket: TLSResumption?) {
            var pair = try TLSPair(client: client, server: server, resuming: ticket)
            pair.run()
            return (pair.serverOutcome.handshake?.isResumed, pair.client.resumption)
        }
        let first = try run(nil)
        clock.advance(ms: SessionTicketKeys.sealingMs)
        #expect(try run(first.ticket).isResumed == true)
        let second = try run(nil)
        clock.advance(ms: SessionTicketKeys.ticketMs)
        #expect(try run(first.ticket).isResumed == false)
        #expect(try run(second.ticket).isResumed == true)
    }

    @Test("does not resume a session of a listener that asked for no certificate")
    func resumptionAcrossListeners() throws {
        let server = try authority.serverContext()
        func ticket() throws -> TLSResumption {
            var first = try TLSPair(
                client: authority.clientContext(hasCertificate: false), server: server,
                authentication: .none)
            first.run()
            return try #require(first.client.resumption)
        }
        var withCertificate = try TLSPair(
            client: authority.clientContext(), server: server, authentication: .required,
            resuming: ticket())
        withCertificate.run()
        let handshake = try #require(withCertificate.serverOutcome.handshake)
        #expect(!handshake.isResumed)
        #expect(handshake.peerCertificate?.subject == "CN=client")
        var without = try TLSPair(
            client: authority.clientContext(hasCertificate: false), server: server,
            authentication: .required, resuming: ticket())
        without.run()
        #expect(without.serverOutcome.handshake == nil)
        #expect(without.serverOutcome.error?.code == .certificateMissing)
    }

    @Test("does not resume when the client's certificate has expired since")
    func resumptionAfterExpiry() throws {
        let clock = authority.clock()
        let client = try authority.clientContext(clock: clock)
        let server = try authority.serverContext(clock: clock)
        var first = try TLSPair(client: client, server: server)
        first.run()
        let ticket = try #require(first.client.resumption)
        clock.advance(ms: 91 * dayMs)
        // The server's certificate has expired as well; this client does not look at it.
        var second = try TLSPair(
            client: authority.clientContext(), server: server, resuming: ticket)
        second.run()
        #expect(second.serverOutcome.error?.code == .certificateExpired)
    }

    @Test("works in TLS 1.2 where that is allowed")
    func version12() throws {
        let server = try authority.serverContext(minimum: .tls12)
        var options = authority.clientOptions(["h2"], minimum: .tls12)
        options.maximumVersion = .tls12
        var pair = try TLSPair(
            client: TLSContext.client(options, clock: authority.clock()), server: server)
        pair.run()
        #expect(pair.serverOutcome.handshake?.version == "TLSv1.2")
        #expect(pair.serverOutcome.handshake?.serverName == "localhost")
        #expect(pair.serverOutcome.handshake?.applicationProtocol == "h2")
        #expect(pair.serverOutcome.handshake?.cipher.contains("ECDHE") == true)
    }

    @Test(
        "accepts a client without a certificate where none is required",
        arguments: [
            ClientAuthentication.requested, .none,
        ])
    func anonymous(authentication: ClientAuthentication) throws {
        var pair = try TLSPair(
            client: authority.clientContext(hasCertificate: false),
            server: authority.serverContext(),
            authentication: authentication)
        pair.run()
        let handshake = try #require(pair.serverOutcome.handshake)
        #expect(handshake.peerCertificate == nil)
    }

    @Test("trusts exactly the certificate that the CA file holds, if that is no CA")
    func pinned() throws {
        var options = authority.serverOptions()
        options.authorityFile = authority.files.clientCertificateFile
        let server = try TLSContext.server(options, clock: authority.clock())
        var pair = try TLSPair(client: authority.clientContext(), server: server)
        pair.run()
        #expect(pair.serverOutcome.handshake?.peerCertificate?.subject == "CN=client")
        let sibling = try authority.authority.mintClient(
            commonName: "sibling", clock: authority.clock())
        let other = try TLSContext.client(
            authority.clientOptions(with: sibling, name: "sibling"), clock: authority.clock())
        pair = try TLSPair(client: other, server: server)
        pair.run()
        #expect(pair.serverOutcome.error?.code == .unknownAuthority)
    }

    @Test(
        "checks a server by its address as well as by its name",
        arguments: [
            "localhost", "127.0.0.1", "::1", "broker.example",
        ])
    func hosts(host: String) throws {
        var pair = try TLSPair(
            client: authority.clientContext(), server: authority.serverContext(), host: host)
        pair.run()
        let handshake = try #require(pair.serverOutcome.handshake)
        // RFC 6066: an address is never sent as SNI.
        #expect(handshake.serverName == (isNumericAddress(host) ? nil : host))
    }
}

@Suite("A TLS refusal")
struct TLSRefusalTests {
    let authority = TestAuthority.shared

    /// What both sides say when the client's certificate is `minted`.
    private func refusal(of minted: MintedCertificate, name: String) throws -> TLSPair {
        let options = try authority.clientOptions(with: minted, name: name)
        var pair = try TLSPair(
            client: TLSContext.client(options, clock: authority.clock()),
            server: authority.serverContext())
        pair.run()
        return pair
    }

    @Test("names the day on which the client's certificate expired, and tells the client")
    func expired() throws {
        let past = ManualClock(nowMs: TestAuthority.nowMs - 100 * dayMs)
        let minted = try authority.authority.mintClient(commonName: "late", clock: past)
        let pair = try refusal(of: minted, name: "expired")
        let error = try #require(pair.serverOutcome.error)
        #expect(error.code == .certificateExpired)
        #expect(
            error.message == "client certificate expired on 2025-03-14 (CN=late); mint a new one")
        #expect(pair.clientOutcome.error?.message.contains("alert: certificate expired") == true)
    }

    @Test("names the day before which the client's certificate is not valid")
    func notYetValid() throws {
        let future = ManualClock(nowMs: TestAuthority.nowMs + 2 * dayMs)
        let minted = try authority.authority.mintClient(commonName: "early", clock: future)
        let pair = try refusal(of: minted, name: "early")
        let error = try #require(pair.serverOutcome.error)
        #expect(error.code == .certificateNotYetValid)
        #expect(error.message.contains("is not valid before 2025-06-16 (CN=early)"))
    }

    @Test("says that the client sent no certificate")
    func missing() throws {
        var pair = try TLSPair(
            client: authority.clientContext(hasCertificate: false),
            server: authority.serverContext())
        pair.run()
        #expect(pair.serverOutcome.error?.code == .certificateMissing)
        #expect(pair.serverOutcome.error?.message.hasPrefix("client sent no certificate") == true)
        #expect(pair.clientOutcome.error?.message.contains("alert: certificate required") == true)
    }

    @Test("names the unknown CA that signed the client's certificate, though it has our CA's name")
    func unknownAuthority() throws {
        let stranger = try CertificateAuthority.mint(clock: authority.clock())
        let minted = try stranger.mintClient(commonName: "stranger", clock: authority.clock())
        let pair = try refusal(of: minted, name: "stranger")
        #expect(pair.serverOutcome.error?.code == .unknownAuthority)
        #expect(
            pair.serverOutcome.error?.message
                == "client certificate (CN=stranger) is signed by an unknown CA "
                + "CN=Martlet development CA; if that is an intermediate CA, the client must send its certificate too: "
                + "put it behind the client's own, into the same file"
        )
        #expect(pair.clientOutcome.error?.message.contains("alert: unknown CA") == true)
    }

    @Test("refuses a server's certificate when a client shows it")
    func wrongPurpose() throws {
        let minted = try authority.authority.mintServer(
            hosts: ["elsewhere"], clock: authority.clock())
        let pair = try refusal(of: minted, name: "purpose")
        #expect(pair.serverOutcome.error?.code == .certificateInvalid)
        #expect(pair.serverOutcome.error?.message.contains("not meant for a client") == true)
    }

    @Test("tells a client which hosts the server's certificate is for")
    func hostname() throws {
        var pair = try TLSPair(
            client: authority.clientContext(), server: authority.serverContext(),
            host: "kafka.example")
        pair.run()
        let error = try #require(pair.clientOutcome.error)
        #expect(error.code == .hostnameMismatch)
        #expect(
            error.message.hasPrefix(
                "server certificate is not for kafka.example, but for localhost,"))
        #expect(pair.serverOutcome.error?.code == .alertReceived)
    }

    @Test("says what to do when a client does not trust the server's certificate")
    func untrustedServer() throws {
        let stranger = TestAuthority()
        var pair = try TLSPair(
            client: stranger.clientContext(), server: authority.serverContext())
        pair.run()
        #expect(pair.clientOutcome.error?.code == .unknownAuthority)
        #expect(pair.serverOutcome.error?.code == .alertReceived)
        #expect(
            pair.serverOutcome.error?.message.contains("it does not trust our certificate") == true)
    }

    @Test("names the version that a client speaks and the one that is required")
    func oldVersion() throws {
        var options = authority.clientOptions(minimum: .tls12)
        options.maximumVersion = .tls12
        var pair = try TLSPair(
            client: TLSContext.client(options, clock: authority.clock()),
            server: authority.serverContext())
        pair.run()
        #expect(pair.serverOutcome.error?.code == .versionTooOld)
        #expect(
            pair.serverOutcome.error?.message
                == "client speaks TLS 1.2, at least TLS 1.3 is required")
        #expect(pair.clientOutcome.error?.message.contains("alert: protocol version") == true)
    }

    static let plaintexts: [([UInt8], String)] = [
        (Array("GET / HTTP/1.1\r\n\r\n".utf8), "a plaintext HTTP/1.1 client spoke to a TLS port"),
        (
            Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8),
            "a plaintext HTTP/2 client spoke to a TLS port"
        ),
        ([0, 0, 0, 20, 0, 18, 0, 3, 0, 0, 0, 1], "a plaintext Kafka client spoke to a TLS port"),
        (Array("SSH-2.0-OpenSSH_9.2\r\n".utf8), "an SSH client on a TLS port"),
        (
            [0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8],
            "unknown bytes ff fe fd fc fb fa f9 f8"
        ),
    ]

    @Test("recognises who speaks plaintext to a TLS port", arguments: plaintexts)
    func plaintext(bytes: [UInt8], message: String) throws {
        let server = try TLSSession(context: authority.serverContext(), role: .server(.required))
        server.receive(ByteBuffer(bytes: bytes))
        let error = #expect(throws: TLSError.self) { try server.handshake() }
        #expect(error?.code == .notTLS)
        #expect(error?.message.hasPrefix(message) == true)
    }

    @Test("calls garbage in the handshake a violation, and never ends it", arguments: 0..<64)
    func garbage(seed: Int) throws {
        var random = SeededBytes(seed: UInt64(seed))
        let server = try TLSSession(context: authority.serverContext(), role: .server(.required))
        let body = random.bytes(Int.random(in: 1...512, using: &random))
        var record = ByteBuffer(bytes: [0x16, 0x03, 0x01])
        record.writeInteger(UInt16(body.count))
        record.writeBytes(body)
        server.receive(record)
        do throws(TLSError) {
            let handshake = try server.handshake()
            #expect(handshake == nil)
        } catch {
            #expect(error.code != .library)
            #expect(!error.message.isEmpty)
        }
    }

    @Test("a handshake in which one bit is wrong never ends well on both sides", arguments: 0..<48)
    func flippedBit(seed: Int) throws {
        var random = SeededBytes(seed: UInt64(seed) + 1000)
        let client = try TLSSession(
            context: authority.clientContext(), role: .client(host: "localhost"))
        let server = try TLSSession(context: authority.serverContext(), role: .server(.required))
        _ = try client.handshake()
        server.receive(try #require(client.takeOutbound()))
        #expect(try server.handshake() == nil)
        var flight = try #require(server.takeOutbound())
        // Anywhere in the server's flight: all of it is authenticated by the client's Finished.
        let index = flight.readerIndex + Int.random(in: 0..<flight.readableBytes, using: &random)
        let byte = try #require(flight.getInteger(at: index, as: UInt8.self))
        flight.setInteger(byte ^ (1 << UInt8.random(in: 0..<8, using: &random)), at: index)
        client.receive(flight)
        let handshake = try? client.handshake()
        // A wrong legacy version or length in a record header may only make the client wait for
        // more.
        #expect(
            handshake == nil || index < flight.readerIndex + 3 || isChangeCipherSpec(flight, index))
    }

    /// The compatibility record that TLS 1.3 ignores (RFC 8446 appendix D.4) and record headers'
    /// legacy versions are the only bytes that may change unnoticed.
    private func isChangeCipherSpec(_ flight: ByteBuffer, _ index: Int) -> Bool {
        var position = flight.readerIndex
        while let length = flight.getInteger(at: position + 3, as: UInt16.self) {
            if index >= position, index < position + 5 { return true }
            let isCompatibility = flight.getInteger(at: position, as: UInt8.self) == 0x14
            position += 5 + Int(length)
            if index < position { return isCompatibility }
        }
        return false
    }
}

@Suite("TLS data")
struct TLSDataTests {
    let authority = TestAuthority.shared

    private func connected(stepBytes: Int? = nil) throws -> TLSPair {
        var pair = try TLSPair(client: authority.clientContext(), server: authority.serverContext())
        pair.run()
        #expect(pair.clientOutcome.handshake != nil && pair.serverOutcome.handshake != nil)
        pair.stepBytes = stepBytes
        return pair
    }

    @Test("of 10 MB arrives whole in both directions", arguments: [nil, 1 << 20, 65_536, 1447])
    func large(stepBytes: Int?) throws {
        let pair = try connected(stepBytes: stepBytes)
        var random = SeededBytes(seed: 7)
        let block = random.bytes(1 << 16)
        var data = ByteBuffer()
        for _ in 0..<160 { data.writeBytes(block) }
        data.writeInteger(UInt8(1))
        #expect(try pair.send(data, from: pair.client, to: pair.server) == data)
        #expect(try pair.send(data, from: pair.server, to: pair.client) == data)
    }

    @Test(
        "arrives whole when every byte of its records comes alone", arguments: [1, 2, 1000, 16_385])
    func byteByByte(count: Int) throws {
        let pair = try connected(stepBytes: 1)
        var random = SeededBytes(seed: 3)
        let data = ByteBuffer(bytes: random.bytes(count))
        #expect(try pair.send(data, from: pair.client, to: pair.server) == data)
    }

    @Test("that was changed on its way is refused")
    func changed() throws {
        let pair = try connected()
        try pair.client.write(ByteBuffer(string: "twelve bytes"))
        var record = try #require(pair.client.takeOutbound())
        let last = record.writerIndex - 1
        record.setInteger(try #require(record.getInteger(at: last, as: UInt8.self)) ^ 1, at: last)
        pair.server.receive(record)
        var plaintext = ByteBuffer()
        let error = #expect(throws: TLSError.self) { try pair.server.read(into: &plaintext) }
        #expect(error?.code == .protocolViolation)
        #expect(plaintext.readableBytes == 0)
        // The alert for the peer.
        #expect(pair.server.takeOutbound() != nil)
    }

    @Test(
        "that is cut off within a record shows as a partial record, whole records do not",
        arguments: [
            1, 4, 5, 6, 20,
        ])
    func truncated(count: Int) throws {
        let pair = try connected()
        #expect(!pair.server.hasPartialRecord)
        try pair.client.write(ByteBuffer(string: "a record"))
        var record = try #require(pair.client.takeOutbound())
        let beginning = record.readSlice(length: count)
        pair.server.receive(try #require(beginning))
        var plaintext = ByteBuffer()
        #expect(try pair.server.read(into: &plaintext) == .exhausted)
        #expect(plaintext.readableBytes == 0)
        #expect(pair.server.hasPartialRecord)
        pair.server.receive(record)
        #expect(try pair.server.read(into: &plaintext) == .exhausted)
        #expect(String(buffer: plaintext) == "a record")
        #expect(!pair.server.hasPartialRecord)
    }

    @Test("may still be sent to a peer that has said close_notify")
    func halfClosed() throws {
        let pair = try connected()
        pair.client.shutdown()
        pair.server.receive(try #require(pair.client.takeOutbound()))
        var plaintext = ByteBuffer()
        #expect(try pair.server.read(into: &plaintext) == .closeNotify)
        #expect(pair.server.isCloseNotifyReceived)
        let answer = ByteBuffer(string: "the answer")
        #expect(try pair.send(answer, from: pair.server, to: pair.client) == answer)
        pair.server.shutdown()
        pair.client.receive(try #require(pair.server.takeOutbound()))
        #expect(try pair.client.read(into: &plaintext) == .closeNotify)
    }

    @Test("of many small writes leaves as one piece")
    func coalesced() throws {
        let pair = try connected()
        for index in 0..<100 { try pair.client.write(ByteBuffer(string: "write \(index);")) }
        let records = try #require(pair.client.takeOutbound())
        #expect(records.readableBytes > 100 * 22)
        pair.server.receive(records)
        var plaintext = ByteBuffer()
        #expect(try pair.server.read(into: &plaintext) == .exhausted)
        #expect(String(buffer: plaintext) == (0..<100).map { "write \($0);" }.joined())
    }
}
