// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: questions of the oracle that are answered before anything else happens.

import KafkaWire
import NIOCore
import NIOEmbedded
import Storage

extension Life {
    /// A connection of its own, as long as `body` runs.
    func ask<T>(_ body: (KafkaLink) throws -> T) throws -> T {
        guard let broker else { throw Interrupted() }
        let link = try KafkaLink(broker) { [unowned self] in received($0) }
        defer { link.discard() }
        return try body(link)
    }

    /// Asks over a connection of its own, and lets sync rounds pass until the answer comes.
    func askDurably<Request: KafkaRequest>(_ request: Request, version: Int16) throws -> Request.Response {
        try ask { try askDurably(request, version: version, over: $0) }
    }

    func askDurably<Request: KafkaRequest>(
        _ request: Request, version: Int16, over link: KafkaLink
    ) throws -> Request.Response {
        guard let broker else { throw Interrupted() }
        var answer: Request.Response?
        try link.send(request, version: version) { answer = $0 }
        for _ in 0..<16 where answer == nil && !disk.hasCrashed {
            broker.loop.run()
            broker.groupCommit.runRound()
            broker.loop.run()
            try link.poll()
        }
        if disk.hasCrashed { throw Interrupted() }
        guard let answer else { throw Violation(invariant: "a request is answered", detail: "\(Request.self)") }
        return answer
    }
}
