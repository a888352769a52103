// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: ends HTTP/2 connections that nobody uses, as gRPC's servers do (MAX_CONNECTION_IDLE).
//
//   opened | last stream ended --no stream within `connections.max.idle.ms`--> GOAWAY --> closed
//
// A connection with an open stream is used, whatever passes over it. PING without a stream is no use: a client that keeps a
// connection alive with it wants an answer, not the connection, and calls again over a new one. One timer a connection, which looks
// when the last stream ended.

import Logging
import NIOCore
import Transport

extension GRPCConnection {
    func watchIdleness() {
        unusedSince = loop.now
        scheduleIdleCheck(in: server.maxIdle)
    }

    private func scheduleIdleCheck(in time: TimeAmount) {
        // Not weak: that would make every use of the connection dearer. It is cancelled when the connection ends.
        idleCheck = loop.scheduleTask(in: time) { self.checkIdleness() }
    }

    private func checkIdleness() {
        guard !hasOpenStreams else { return scheduleIdleCheck(in: server.maxIdle) }
        let idle = loop.now - unusedSince
        guard idle >= server.maxIdle else { return scheduleIdleCheck(in: server.maxIdle - idle) }
        server.logger.debug(
            "closing an idle gRPC connection", metadata: ["peer": "\(peer.remoteAddress):\(peer.remotePort)"])
        drain()
    }
}
