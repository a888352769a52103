// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: calls that wait for an external policy (docs/decisions/0024-external-policy.md).
//
// A call has no effect before all that it needs is decided: what it needs is asked by code that does nothing else, which is run
// again when there are answers. Without an external policy it is run once, at once.

import Engine
import GRPCWire
import NIOCore
import Transport

extension GRPCCall {
    var accessClient: AccessClient {
        AccessClient(
            principal: principal, host: peer.remoteAddress, listener: peer.listenerName, wire: "grpc", isTLS: peer.isTLS)
    }

    /// Whether an external policy has a say in what the caller does.
    var asksPolicy: Bool { engine.access.policy != nil && engine.access.restricts(principal) }

    /// Whether what the caller wants to publish may have to wait: for a policy, or because of a quota.
    var mayHaveToWait: Bool { asksPolicy || engine.quotas.isInForce }

    /// Runs `check`, which asks by `may` and `require` and does nothing else, until all is decided; then `then` with what it made.
    /// What either throws ends the call; if the call ends before, nothing follows. `holding`: bytes that are kept meanwhile.
    func authorize<Outcome>(
        holding bytes: Int = 0, _ check: @escaping () throws(GRPCStatus) -> Outcome,
        then: @escaping (Outcome) throws(GRPCStatus) -> Void
    ) {
        guard asksPolicy,
            let inquiry = engine.access.inquiry(of: accessClient, on: loop, isWanted: { [weak self] in self?.hasEnded == false })
        else {
            do throws(GRPCStatus) { try then(try check()) } catch { fail(error) }
            return
        }
        let held = HeldBytes(connection)
        var isDecided = false
        inquiry.settle {
            self.asking(inquiry) { () -> Result<Outcome, GRPCStatus> in
                do throws(GRPCStatus) { return .success(try check()) } catch { return .failure(error) }
            }
        } then: { outcome in
            isDecided = true
            held.release()
            guard !self.hasEnded else { return }
            self.timed {
                self.asking(inquiry) {
                    do throws(GRPCStatus) { try then(try outcome.get()) } catch { self.fail(error) }
                }
            }
        }
        guard !isDecided, bytes > 0 else { return }
        guard connection.bufferedBytes + bytes <= Limits.delayedPublishBytes, server.memory.hasRoom() else {
            return fail(
                GRPCStatus(
                    .resourceExhausted, "UNFINISHED_REQUESTS", retryMs: 1000,
                    "too many bytes wait for decisions of the external policy; try again later"))
        }
        held.hold(bytes)
    }

    private func asking<Outcome>(_ inquiry: AccessInquiry, _ body: () -> Outcome) -> Outcome {
        let before = self.inquiry
        self.inquiry = inquiry
        defer { self.inquiry = before }
        return body()
    }
}

/// Bytes of a request that waits, as long as it does. Confined to the connection's loop.
private final class HeldBytes {
    private let connection: any CallOwner
    private var bytes = 0

    init(_ connection: any CallOwner) {
        self.connection = connection
    }

    func hold(_ bytes: Int) {
        self.bytes = bytes
        connection.bufferedBytes += bytes
        connection.server.memory.adjust(by: bytes)
    }

    func release() {
        connection.bufferedBytes -= bytes
        connection.server.memory.adjust(by: -bytes)
        bytes = 0
    }

    deinit { release() }
}
