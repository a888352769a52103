// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: a client's and a server's TLSSession, joined in memory.

import NIOCore

@testable import Transport

/// Two sessions whose bytes are carried by hand.
struct TLSPair {
    /// How one side ended.
    struct Outcome {
        var handshake: TLSHandshake?
        var error: TLSError?
    }

    let client: TLSSession
    let server: TLSSession
    var clientOutcome = Outcome()
    var serverOutcome = Outcome()
    /// The most bytes that are handed over at once; nil is no limit.
    var stepBytes: Int?

    init(
        client: TLSContext, server: TLSContext, host: String? = "localhost",
        authentication: ClientAuthentication = .required, resuming: TLSResumption? = nil
    ) throws {
        self.client = try TLSSession(context: client, role: .client(host: host), resuming: resuming)
        self.server = try TLSSession(context: server, role: .server(authentication))
    }

    /// Runs until neither side has anything to say.
    mutating func run() {
        step(client, &clientOutcome)
        var isMoving = true
        while isMoving {
            let toServer = carry(client, server) { step(server, &serverOutcome) }
            let toClient = carry(server, client) { step(client, &clientOutcome) }
            isMoving = toServer || toClient
        }
    }

    /// Hands over everything outgoing, in steps, running `step` after each.
    private func carry(_ from: TLSSession, _ to: TLSSession, _ step: () -> Void) -> Bool {
        guard var bytes = from.takeOutbound() else { return false }
        while bytes.readableBytes > 0 {
            let count = min(bytes.readableBytes, stepBytes ?? Int.max)
            guard let piece = bytes.readSlice(length: count) else { break }
            to.receive(piece)
            step()
        }
        return true
    }

    /// Drives the handshake; after it, reads, which finds a late alert.
    private func step(_ session: TLSSession, _ outcome: inout Outcome) {
        guard outcome.error == nil else { return }
        do throws(TLSError) {
            if outcome.handshake == nil { outcome.handshake = try session.handshake() }
            if outcome.handshake != nil {
                var plaintext = ByteBuffer()
                _ = try session.read(into: &plaintext)
            }
        } catch {
            outcome.error = error
        }
    }

    /// Sends `bytes` from one side to the other and returns what arrived.
    func send(_ bytes: ByteBuffer, from: TLSSession, to: TLSSession) throws -> ByteBuffer {
        try from.write(bytes)
        var arrived = ByteBuffer()
        while var records = from.takeOutbound() {
            while records.readableBytes > 0 {
                let count = min(records.readableBytes, stepBytes ?? Int.max)
                guard let piece = records.readSlice(length: count) else { break }
                to.receive(piece)
                _ = try to.read(into: &arrived)
            }
        }
        return arrived
    }
}
