// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: a call in both directions, for a thread that may wait.

import NIOConcurrencyHelpers
import NIOCore
import SwiftProtobuf

package struct GRPCExchange<Response: Message> {
    private let call: GRPCConnection.Call
    private let endpoint: Endpoint

    init(call: GRPCConnection.Call, endpoint: Endpoint) {
        self.call = call
        self.endpoint = endpoint
    }

    /// Sends without waiting.
    package func send(_ request: some Message) throws(ClientError) { try call.send(request) }

    /// The next answer; nil after the last one, if the call ended well.
    package func next() throws(ClientError) -> Response? {
        do {
            return try call.next(Response.self).wait()
        } catch {
            throw ClientError(describing: error, on: endpoint)
        }
    }

    /// There are no more requests.
    package func finish() { call.finish() }

    package func cancel() { call.cancel() }

    /// There are no more requests unless this is cancelled in time.
    func finishLater(_ delay: TimeAmount) -> Scheduled<Void> {
        call.later(delay) { [call] in call.finish() }
    }

    /// Sends this again and again until the result is called.
    func repeating(_ request: some Message & Sendable, every interval: TimeAmount) -> () -> Void {
        let repetition = Repetition(call, request, interval)
        repetition.schedule()
        return { repetition.stop() }
    }
}

/// Requests that are sent again and again, by the connection's loop.
private final class Repetition<Request: Message & Sendable>: Sendable {
    private let call: GRPCConnection.Call
    private let request: Request
    private let interval: TimeAmount
    private let state = NIOLockedValueBox<(isStopped: Bool, task: Scheduled<Void>?)>((false, nil))

    init(_ call: GRPCConnection.Call, _ request: Request, _ interval: TimeAmount) {
        self.call = call
        self.request = request
        self.interval = interval
    }

    func schedule() {
        state.withLockedValue { state in
            guard !state.isStopped else { return }
            state.task = call.later(interval) { [self] in
                // What cannot be encoded was not sent the first time either.
                try? call.send(request)
                schedule()
            }
        }
    }

    func stop() {
        state.withLockedValue { state in
            state.isStopped = true
            state.task?.cancel()
        }
    }
}
