// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: one request on its way to its reply.
//
// Handlers get one, keep it while they wait, and answer it exactly once, on the connection's event loop. An exchange
// that outlives its connection is answered into nothing.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Telemetry
import Transport

struct Exchange: Sendable {
    let connection: KafkaConnection
    let apiKey: Int16
    let version: Int16
    let correlationId: Int32
    let slot: Int
    let startedNs: UInt64
    /// For how long the client's quotas make it wait.
    var throttleTimeMs: Int32 = 0
    /// What the authorisation has to say to the response.
    private(set) var amendment: Amendment?
    /// What the audit log has to say once it is answered.
    var trail: AuditTrail?
    /// What is asked of an external policy, and what it said; nil: nothing has to be.
    var inquiry: AccessInquiry?

    var engine: Engine { connection.server.engine }
    var server: KafkaServer { connection.server }
    var loop: any EventLoop { connection.loop }

    /// Whether there is anything that this client may not do.
    var isRestricted: Bool {
        engine.audit.recordsAllowed || engine.access.restricts(connection.login.principal)
    }

    func amended(by amendment: Amendment) -> Exchange {
        var copy = self
        copy.amendment = amendment
        return copy
    }

    /// Where clients are told to connect: the advertised address, or the one this client used.
    var advertisedAddress: (host: String, port: Int32) {
        let advertised = server.advertised
        return (
            advertised?.host ?? connection.peer.localHost, Int32(advertised?.port ?? connection.peer.localPort)
        )
    }

    /// Sends the response, in this request's turn. `version` differs from the request's only where the client's is
    /// not served.
    func reply(_ response: some KafkaResponse, version: Int16? = nil) {
        let version = version ?? self.version
        let response = throttleTimeMs > 0 ? throttled(response) : response
        trail?.end(response, self)
        amended(response) { response in
            connection.complete(slot) { buffer throws(WireError) in
                try Frame.write(response, version: version, correlationId: correlationId, into: &buffer)
            }
            finish()
        }
    }

    /// Sends a Fetch response whose external records are `slices`, in order.
    func reply(_ response: FetchResponse, slices: [ReplySegment]) {
        var buffer = ByteBuffer()
        // Nothing has to be asked for its amendment: it only adds what was refused before.
        var response = throttleTimeMs > 0 ? throttled(response) : response
        amendment?.apply(to: &response)
        do {
            var slices = slices.makeIterator()
            let segments = try Frame.segments(
                response, version: version, correlationId: correlationId, into: &buffer)
            connection.complete(
                slot,
                segments: segments.map { segment in
                    switch segment {
                    case .bytes(let bytes): return .bytes(bytes)
                    case .external:
                        guard let slice = slices.next() else {
                            preconditionFailure("a fetch response names more external records than it has slices")
                        }
                        return slice
                    }
                })
        } catch {
            connection.close("a reply could not be encoded: \(error)")
        }
        finish()
    }

    /// Ends the request without an answer (acks=0).
    func replyNothing() {
        connection.completeWithoutReply(slot)
        finish()
    }

    /// Ends the connection: the request cannot be answered in its own terms.
    func close(_ cause: String) {
        connection.close(cause)
    }

    /// Whether a request names no more of something than `limit`; else its connection is closed, because an
    /// answer to each would be larger still.
    func admits(_ count: Int, _ what: StaticString, limit: Int) -> Bool {
        if count <= limit { return true }
        close("a request names \(count) \(what); the limit is \(limit)")
        return false
    }

    private func finish() {
        server.metrics.requestFinished(
            apiKey: apiKey, durationNs: Int(engine.clock.monotonicNs() &- startedNs))
    }
}
