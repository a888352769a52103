// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: Streams.Subscribe: from a request to a cursor.
//
// Behaviour: the positions are fixed when the call begins, and the headers of the answer say that they are; the records
// themselves are the business of `Subscription`. A start offset may be the end of a partition, but not beyond it.

import Contract
import Engine
import GRPCWire

extension StreamsService {
    func subscribe(_ request: Martlet_V1_SubscribeRequest, _ call: GRPCCall) throws(GRPCStatus) {
        guard !request.topics.isEmpty else { throw GRPCStatus(.invalidArgument, "topics is empty") }
        if case .UNRECOGNIZED(let value) = request.origin {
            throw GRPCStatus(.invalidArgument, "origin \(value) is unknown")
        }
        if case .group(let group)? = request.start, group.isEmpty {
            throw GRPCStatus(.invalidArgument, "group is empty")
        }
        guard request.maxBytesPerMessage <= UInt32(Limits.subscribeMessageBytesMax) else {
            throw GRPCStatus(
                .invalidArgument, "max_bytes_per_message is above the \(Limits.subscribeMessageBytesMax) allowed")
        }
        let targets = try targets(request)
        var start = SubscriptionStart(request, engine: engine)
        var positions: [Cursor.Position] = []
        positions.reserveCapacity(targets.count)
        for target in targets {
            let (offset, end) = try start.position(target.partition, explicit: target.offset)
            positions.append(
                Cursor.Position(partition: target.partition, offset: offset, end: request.untilEnd ? end : nil))
        }
        call.start(Subscription(request, cursor: Cursor(positions: positions), call: call))
    }

    private typealias Target = (partition: Partition, offset: Int64?)

    private func targets(_ request: Martlet_V1_SubscribeRequest) throws(GRPCStatus) -> [Target] {
        var targets: [Target] = []
        var seen: [String: Set<Int32>] = [:]
        for selection in request.topics {
            let topic = try topic(selection.topic)
            var added: [Target] = []
            if selection.partitions.isEmpty {
                added = topic.partitions.map { ($0, nil) }
            } else {
                for wanted in selection.partitions {
                    added.append(
                        (try partition(topic.name, wanted.partition), wanted.hasOffset ? wanted.offset : nil))
                }
            }
            for target in added
            where !seen[topic.name, default: []].insert(target.partition.index).inserted {
                throw GRPCStatus(
                    .invalidArgument, "topics names partition \(target.partition.index) of \(topic.name) twice")
            }
            targets += added
            guard targets.count <= Limits.partitionsPerRequest else {
                throw GRPCStatus(
                    .invalidArgument, "topics has more than \(Limits.partitionsPerRequest) partitions together")
            }
        }
        return targets
    }
}

/// Where a subscription begins in each partition.
private struct SubscriptionStart {
    private let request: Martlet_V1_SubscribeRequest
    private let engine: Engine
    /// What the group has committed, once it was asked.
    private var committed: [String: [Int32: Int64]]?

    init(_ request: Martlet_V1_SubscribeRequest, engine: Engine) {
        self.request = request
        self.engine = engine
    }

    /// The first offset to deliver, and the end of what is committed now.
    mutating func position(
        _ partition: Partition, explicit: Int64?
    ) throws(GRPCStatus) -> (offset: Int64, end: Int64) {
        let offsets = partition.offsets
        let end: Int64
        do throws(EngineError) { end = try partition.lastStableOffset() } catch { throw GRPCStatus(error) }
        var start = explicit
        if start == nil { start = try offset(partition, offsets) }
        guard let wanted = start else {
            return (request.origin.offset(offsets) ?? offsets.highWatermark, end)
        }
        guard wanted >= 0 else {
            throw GRPCStatus(.invalidArgument, "the start offset \(wanted) of \(partition.name) is negative")
        }
        if wanted >= offsets.start, wanted <= offsets.highWatermark { return (wanted, end) }
        guard let origin = request.origin.offset(offsets) else {
            throw GRPCStatus(
                .outOfRange,
                "offset \(wanted) of \(partition.name) is not there: it has \(offsets.start) to \(offsets.highWatermark);"
                    + " set origin to begin elsewhere then")
        }
        return (origin, end)
    }

    /// What the request's start says; nil leaves it to the origin.
    private mutating func offset(
        _ partition: Partition, _ offsets: PartitionOffsets
    ) throws(GRPCStatus) -> Int64? {
        switch request.start {
        case nil: return nil
        case .offset(let offset): return offset
        case .timestampMs(let timestamp):
            do throws(EngineError) {
                return try partition.offset(forTimestamp: timestamp)?.offset ?? offsets.highWatermark
            } catch {
                throw GRPCStatus(error)
            }
        case .group(let group): return try committed(by: group)[partition.topic]?[partition.index]
        }
    }

    private mutating func committed(by group: String) throws(GRPCStatus) -> [String: [Int32: Int64]] {
        if let committed { return committed }
        var found: [String: [Int32: Int64]] = [:]
        do throws(GroupError) {
            for topic in try engine.groups.committed(groupId: group, topics: nil) {
                for position in topic.positions {
                    if let offset = position.offset { found[topic.topic, default: [:]][position.partition] = offset.offset }
                }
            }
        } catch {
            throw GRPCStatus(error)
        }
        committed = found
        return found
    }
}

extension Martlet_V1_Origin {
    /// nil: the caller left it open.
    func offset(_ offsets: PartitionOffsets) -> Int64? {
        switch self {
        case .unspecified, .UNRECOGNIZED: nil
        case .earliest: offsets.start
        case .latest: offsets.highWatermark
        }
    }
}
