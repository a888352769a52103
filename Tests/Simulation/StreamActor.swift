// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: a caller of PublishStream: many requests under way, on one call after the other.
//
// The requests of all these callers that come in one turn share a batch, and one sync.

import Bytes
import Contract
import Engine
import FoundationEssentials
import KafkaWire
import NIOCore
import SwiftProtobuf

final class StreamActor {
    unowned let life: Life
    let number: Int
    private var link: GRPCLink?
    private var call: GRPCLinkCall?
    private var stream = 0
    /// Requests of the call without a result, and the number of the first of them.
    private var waiting: [JournalRequest] = []
    private var firstRequest: UInt64 = 0

    init(_ life: Life, _ number: Int) {
        self.life = life
        self.number = number
    }

    func connect(_ broker: SimulatedBroker) throws {
        link = try GRPCLink(broker, server: broker.sharing, clock: life.clock) { [unowned self] in life.received($0) }
    }

    func drop() {
        link?.discard()
        link = nil
        leave()
    }

    func step() throws {
        guard let broker = life.broker else { return }
        guard let link, link.isOpen else {
            drop()
            return try connect(broker)
        }
        guard life.journal.isThere else { return try createTopic() }
        if call != nil, life.chance(0.05) {
            life.trace.note("stream \(stream) goes")
            if life.chance(0.5) { call?.cancel() } else { link.close() }
            try link.flush()
            return leave()
        }
        if call == nil { try begin(link) }
        guard let call else { return }
        for _ in 0..<life.pick(1...4) {
            let request = life.journal.add(
                stream: stream, partition: Int32(life.pick(0...Int(Journal.partitions) - 1)), count: life.pick(1...3),
                size: life.pick(0...life.settings.maxValue))
            waiting.append(request)
            life.trace.note("stream \(stream) publishes \(request.values.count) to partition \(request.partition)")
            try link.send(
                Martlet_V1_PublishStreamRequest.with {
                    $0.topic = Journal.topic
                    $0.partition = request.partition
                    $0.records = request.values.map { value in
                        .with {
                            $0.value = .init(value.utf8)
                            $0.timestampMs = life.clock.nowMs()
                        }
                    }
                }, on: call)
        }
    }

    /// At the end of a turn.
    func read() throws {
        guard let link else { return }
        try link.poll()
        guard let call else { return }
        for message in call.take() {
            let response = try Martlet_V1_PublishStreamResponse(serializedBytes: Array(message.readableBytesView))
            for result in response.results { answered(result) }
        }
        guard call.isClosed || call.status != nil else { return }
        life.trace.note("stream \(stream) ended: \(call.status ?? -1) \(call.text)")
        leave()
    }

    private func begin(_ link: GRPCLink) throws {
        stream = life.journal.openStream()
        call = try link.open("/martlet.v1.Streams/PublishStream")
    }

    /// What has no result by now gets none.
    private func leave() {
        call = nil
        waiting = []
        firstRequest = 0
    }

    private func answered(_ result: Martlet_V1_PublishResult) {
        guard result.request == firstRequest, !waiting.isEmpty else {
            return life.violate(
                "results come in the order of the requests", "stream \(stream) got \(result.request), not \(firstRequest)")
        }
        let request = waiting.removeFirst()
        firstRequest += 1
        guard result.hasError else {
            guard result.batches.count == 1, result.batches[0].partition == request.partition else {
                return life.violate("a request goes where it says", "\(request.values[0]): \(result.batches)")
            }
            life.report.acknowledged += 1
            life.trace.note("acknowledged \(request.values[0].prefix(8)) at \(result.batches[0].baseOffset)")
            return request.fate = .acknowledged(result.batches[0].baseOffset)
        }
        let live = life.broker?.engine.topics.topic(named: Journal.topic)?.partition(request.partition)
        // INVALID_ARGUMENT, RESOURCE_EXHAUSTED (too large, or a full disk): unless the log has failed, it is not there.
        let isDefinite = result.error.code == 3 || result.error.code == 8 && live?.failure == nil
        life.trace.note("refused \(request.values[0].prefix(8)): \(result.error.code) \(result.error.message)")
        if isDefinite { request.fate = .refused }
    }

    private func createTopic() throws {
        guard let admin = life.admin, admin.isOpen else { return }
        let request = CreateTopicsRequest.kept(Journal.topic, partitions: Journal.partitions)
        try admin.send(request, version: 5) { [unowned self] response in
            let code = response?.topics.first?.errorCode
            // A name is taken already while its topic is being made.
            let isKnown = life.broker?.engine.topics.topic(named: Journal.topic) != nil
            if code == KafkaErrorCode.none || code == .topicAlreadyExists && isKnown { life.journal.isThere = true }
        }
    }
}
