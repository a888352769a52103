// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: those who read while the broker lives: Kafka fetchers, and gRPC subscribers, some of them slow.

import Bytes
import Contract
import KafkaWire
import NIOCore
import Records
import SwiftProtobuf

/// A Kafka consumer that follows one partition at a time.
final class FetchActor: KafkaActor {
    unowned let life: Life
    let number: Int
    var link: KafkaLink?
    private var target: PartitionModel?
    private var position: Int64 = 0
    private var isWaiting = false

    init(_ life: Life, _ number: Int) {
        self.life = life
        self.number = number
    }

    func connect(_ broker: SimulatedBroker) throws {
        link = try KafkaLink(broker) { [unowned self] in life.received($0) }
        isWaiting = false
        target = nil
    }

    func step() throws {
        guard let link = try usableLink() else { return }
        if isWaiting { return }
        if target == nil || life.chance(0.2) {
            target = life.pickAny(life.model.livePartitions)
            position = target.map { $0.start + Int64(life.pick(0...max(0, Int($0.knownEnd - $0.start)))) } ?? 0
        }
        guard let target, let id = target.incarnation.id else { return }
        let request = FetchRequest.of(
            target, id: id, offset: position, maxBytes: Int32(life.pick([1, 300, 100_000])),
            maxWaitMs: Int32(life.pick([0, 0, 500])))
        isWaiting = true
        let asked = position
        try link.send(request, version: Int16(life.pick(13...17))) { [unowned self] response in
            isWaiting = false
            guard let answer = response?.topics.first?.partitions.first else { return }
            guard answer.errorCode == .none else {
                life.trace.note("fetch of \(target.name) at \(asked): \(answer.errorCode)")
                self.target = nil
                return
            }
            position = life.observe(answer, of: target, from: asked)
        }
    }
}

extension FetchRequest {
    static func of(_ partition: PartitionModel, id: TopicId, offset: Int64, maxBytes: Int32, maxWaitMs: Int32) -> FetchRequest {
        var request = FetchRequest()
        request.maxWaitMs = maxWaitMs
        request.minBytes = 1
        request.maxBytes = maxBytes
        var topic = FetchRequest.Topic()
        topic.topic = partition.topic
        topic.topicId = id
        var wanted = FetchRequest.Partition()
        wanted.partition = partition.index
        wanted.fetchOffset = offset
        wanted.partitionMaxBytes = maxBytes
        topic.partitions = [wanted]
        request.topics = [topic]
        return request
    }
}

/// A gRPC subscriber; a slow one reads seldom, through a small window.
final class SubscribeActor {
    unowned let life: Life
    let number: Int
    private let isSlow: Bool
    private var link: GRPCLink?
    private var call: GRPCLinkCall?
    private var target: PartitionModel?
    private var position: Int64 = 0

    init(_ life: Life, _ number: Int) {
        self.life = life
        self.number = number
        isSlow = life.chance(0.5)
    }

    func connect(_ broker: SimulatedBroker) throws {
        link = try GRPCLink(broker, clock: life.clock, windowBytes: isSlow ? 512 : 1 << 20) {
            [unowned self] in life.received($0)
        }
    }

    func drop() {
        link?.discard()
        link = nil
        call = nil
    }

    func step() throws {
        guard let link else { return }
        if let call, !call.isClosed {
            if life.chance(0.1) {
                call.cancel()
                try link.flush()
                self.call = nil
            } else if isSlow {
                try take()
            }
            return
        }
        guard let target = life.pickAny(life.model.livePartitions) else { return }
        self.target = target
        position = target.start + Int64(life.pick(0...max(0, Int(target.knownEnd - target.start))))
        call = try link.call(
            "/martlet.v1.Streams/Subscribe",
            Martlet_V1_SubscribeRequest.with { request in
                request.topics = [
                    .with {
                        $0.topic = target.topic
                        $0.partitions = [.with { $0.partition = target.index; $0.offset = position }]
                    }
                ]
                request.maxBytesPerMessage = UInt32(life.pick([0, 100, 5_000]))
            })
    }

    /// At the end of a turn; slow ones take nothing then.
    func read() throws { if !isSlow { try take() } }

    private func take() throws {
        guard let link else { return }
        try link.poll()
        guard let call, let target else { return }
        for message in call.take() {
            let response = try Martlet_V1_SubscribeResponse(serializedBytes: Array(message.readableBytesView))
            for record in response.batches.flatMap(\.records) {
                if record.offset < position {
                    life.violate(
                        "a subscriber gets records in order",
                        "\(target.name) sends \(record.offset) after \(position - 1)")
                }
                life.observe(record, of: target)
                position = record.offset + 1
            }
        }
        if let status = call.status {
            life.trace.note("subscription of \(target.name) ended: \(status) \(call.text)")
            self.call = nil
        }
    }
}
