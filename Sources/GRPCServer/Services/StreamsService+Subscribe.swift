// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: Streams.Subscribe: from a request to a cursor.
//
// Behaviour: the positions are fixed when the call begins, and the headers of the answer say that they are; the records
// themselves are the business of `Subscription`. A start offset may be the end of a partition, but not beyond it.

import Bytes
import Contract
import Engine
import GRPCWire
import NIOCore

extension StreamsService {
    func subscribe(_ request: Martlet_V1_SubscribeRequest, _ call: GRPCCall) throws(GRPCStatus) {
        try check(request)
        let filters = try RecordFilters(request.filters)
        call.authorize { () throws(GRPCStatus) -> () -> Void in
            if case .group(let group)? = request.start { try call.require(.read, .group, group) }
            return try request.hasMember ? member(request, filters, call) : reader(request, filters, call)
        } then: { start in
            start()
        }
    }

    /// What begins the subscription, if it is allowed.
    private func reader(
        _ request: Martlet_V1_SubscribeRequest, _ filters: RecordFilters?, _ call: GRPCCall
    ) throws(GRPCStatus) -> () -> Void {
        let token = try token(request)
        let (targets, topics) = try targets(request, token, call)
        var start = SubscriptionStart(request, token: token, engine: engine)
        var positions: [Cursor.Position] = []
        positions.reserveCapacity(targets.count)
        for target in targets {
            let (offset, end) = try start.position(target.partition, explicit: target.offset)
            positions.append(
                Cursor.Position(partition: target.partition, offset: offset, end: request.untilEnd ? end : nil))
        }
        let cursor = Cursor(
            positions: positions, readsUncommitted: request.isolation == .readUncommitted, hasEnd: request.untilEnd)
        return { call.start(Subscription(request, cursor: cursor, topics: topics, filters: filters, call: call)) }
    }

    /// As a member of a group, which says what there is to read.
    private func member(
        _ request: Martlet_V1_SubscribeRequest, _ filters: RecordFilters?, _ call: GRPCCall
    ) throws(GRPCStatus) -> () -> Void {
        guard !request.member.group.isEmpty else { throw .invalid("member.group", "the member's group is empty; name a consumer group") }
        guard request.start == nil, request.resumeToken.isEmpty, !request.untilEnd else {
            throw .invalid("member", "a member reads from its group's commits on: no start, resume_token or until_end")
        }
        let interval = request.member.maxPollIntervalMs
        guard interval == 0 || Limits.memberPollIntervalsMs.contains(interval) else {
            throw .invalid(
                "member.max_poll_interval_ms",
                "member.max_poll_interval_ms is \(interval); it can be 0, or \(Limits.memberPollIntervalsMs.lowerBound) to"
                    + " \(Limits.memberPollIntervalsMs.upperBound)")
        }
        try call.require(.read, .group, request.member.group)
        for selection in request.topics {
            try call.require(.read, .topic, selection.topic)
            _ = try topic(selection.topic)
            guard selection.partitions.isEmpty else {
                throw .invalid("topics", "a member's topics are named whole: the group chooses the partitions")
            }
        }
        _ = try pattern(request)
        return {
            let cursor = Cursor(
                positions: [], readsUncommitted: request.isolation == .readUncommitted, hasEnd: false)
            let topics = SubscribedTopics(named: [], growing: [], pattern: nil, topics: [])
            let subscription = Subscription(request, cursor: cursor, topics: topics, filters: filters, call: call)
            call.start(subscription)
            subscription.join(request)
        }
    }

    private func check(_ request: Martlet_V1_SubscribeRequest) throws(GRPCStatus) {
        guard !request.topics.isEmpty || !request.topicPattern.isEmpty || !request.resumeToken.isEmpty else {
            throw .invalid("topics", "topics is empty, and there is no topic_pattern and no resume_token")
        }
        if case .UNRECOGNIZED(let value) = request.origin { throw .invalid("origin", "origin \(value) is unknown") }
        if case .UNRECOGNIZED(let value) = request.isolation {
            throw .invalid("isolation", "isolation \(value) is unknown")
        }
        if case .group(let group)? = request.start, group.isEmpty { throw .invalid("group", "group is empty; name a consumer group") }
        // Over Kafka's protocol negative timestamps mean the ends of the log and more; here origin has words for them.
        if case .timestampMs(let timestamp)? = request.start, timestamp < 0 {
            throw .invalid("timestamp_ms", "timestamp_ms \(timestamp) is negative; set origin to begin at an end of the log")
        }
        guard request.maxBytesPerMessage <= UInt32(Limits.subscribeMessageBytesMax) else {
            throw .invalid(
                "max_bytes_per_message", "max_bytes_per_message is above the \(Limits.subscribeMessageBytesMax) allowed")
        }
        guard request.progressIntervalMs == 0 || Limits.progressIntervalMs.contains(request.progressIntervalMs) else {
            throw .invalid(
                "progress_interval_ms",
                "progress_interval_ms is \(request.progressIntervalMs); it can be 0, or \(Limits.progressIntervalMs.lowerBound)"
                    + " to \(Limits.progressIntervalMs.upperBound)")
        }
    }

    private func token(_ request: Martlet_V1_SubscribeRequest) throws(GRPCStatus) -> ResumeToken? {
        guard !request.resumeToken.isEmpty else { return nil }
        guard let token = ResumeToken(ByteBuffer(bytes: request.resumeToken)) else {
            throw .invalid("resume_token", "resume_token is not one that a progress message had")
        }
        guard request.start == nil else {
            throw .invalid("resume_token", "resume_token says where to begin, and so does the request's start")
        }
        return token
    }

    private typealias Target = (partition: Partition, offset: Int64?)

    /// The partitions to begin with, and the topics to follow.
    private func targets(
        _ request: Martlet_V1_SubscribeRequest, _ token: ResumeToken?, _ call: GRPCCall
    ) throws(GRPCStatus) -> ([Target], SubscribedTopics) {
        var targets: [Target] = []
        var seen: [String: Set<Int32>] = [:]
        var topics: [Topic] = []
        for selection in request.topics {
            try call.require(.read, .topic, selection.topic)
            let topic = try topic(selection.topic)
            topics.append(topic)
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
                throw .invalid("topics", "topics names partition \(target.partition.index) of \(topic.name) twice")
                    .about("topic", topic.name)
            }
            targets += added
            try checkCount(targets)
        }
        var named = Set(request.topics.map(\.topic))
        let growing = Set(request.topics.filter(\.partitions.isEmpty).map(\.topic))
        let pattern = try pattern(request)
        if let pattern {
            for topic in engine.topics.all
            where !topic.isInternal && !named.contains(topic.name) && pattern.matches(topic.name)
                && call.mayFind(topic.name) {
                topics.append(topic)
                targets += topic.partitions.map { ($0, nil) }
                try checkCount(targets)
            }
        } else if let token {
            let found = try self.topics(of: token, named: named)
            if request.topics.isEmpty {
                for (topic, entry) in found {
                    try call.require(.read, .topic, topic.name)
                    for index in entry.offsets.keys.sorted() {
                        targets.append((try partition(topic.name, index), nil))
                    }
                    named.insert(topic.name)
                }
                topics = found.map(\.0)
            }
        }
        return (targets, SubscribedTopics(named: named, growing: growing, pattern: pattern, topics: topics))
    }

    /// The topics that a token is about, if they still are what they were.
    private func topics(
        of token: ResumeToken, named: Set<String>
    ) throws(GRPCStatus) -> [(Topic, ResumeToken.Topic)] {
        var found: [(Topic, ResumeToken.Topic)] = []
        for entry in token.topics where named.isEmpty || named.contains(entry.name) {
            guard let topic = engine.topics.topic(id: entry.id) else {
                throw GRPCStatus(
                    .notFound, "UNKNOWN_TOPIC_ID", [("topic", entry.name)],
                    "the topic \(entry.name) of the resume_token was deleted; subscribe without the token to begin anew")
            }
            found.append((topic, entry))
        }
        return found
    }

    private func pattern(_ request: Martlet_V1_SubscribeRequest) throws(GRPCStatus) -> TopicGlob? {
        guard !request.topicPattern.isEmpty else { return nil }
        guard let pattern = TopicGlob(request.topicPattern) else {
            throw .invalid(
                "topic_pattern",
                "topic_pattern may have letters, digits, '.', '_', '-', '*' and '?', at most 249 of them together")
        }
        return pattern
    }

    private func checkCount(_ targets: [Target]) throws(GRPCStatus) {
        guard targets.count <= Limits.partitionsPerRequest else {
            throw .invalid(
                "topics", "the topics have more than the \(Limits.partitionsPerRequest) partitions that one subscription takes")
        }
    }
}

/// Where a subscription begins in each partition.
private struct SubscriptionStart {
    private let request: Martlet_V1_SubscribeRequest
    private let engine: Engine
    private let resumed: [TopicId: [Int32: Int64]]?
    /// What the group has committed, once it was asked.
    private var committed: [String: [Int32: Int64]]?

    init(_ request: Martlet_V1_SubscribeRequest, token: ResumeToken?, engine: Engine) {
        resumed = token.map { Dictionary($0.topics.map { ($0.id, $0.offsets) }) { $1 } }
        self.request = request
        self.engine = engine
    }

    /// The first offset to deliver, and the end of what is committed now.
    mutating func position(
        _ partition: Partition, explicit: Int64?
    ) throws(GRPCStatus) -> (offset: Int64, end: Int64) {
        let offsets = partition.offsets
        let end: Int64
        if request.isolation == .readUncommitted {
            end = offsets.highWatermark
        } else {
            do throws(EngineError) { end = try partition.lastStableOffset() } catch { throw GRPCStatus(error, of: partition) }
        }
        var start = explicit
        if start == nil, let resumed { start = resumed[partition.topicId]?[partition.index] ?? offsets.start }
        if start == nil { start = try offset(partition, offsets) }
        guard let wanted = start else {
            return (request.origin.offset(offsets) ?? offsets.highWatermark, end)
        }
        guard wanted >= 0 else {
            throw .invalid(
                "offset", "the start offset \(wanted) of \(partition.name) is negative; offsets begin at 0, and origin has words for both ends"
            ).about("topic", partition.topic)
        }
        if wanted >= offsets.start, wanted <= offsets.highWatermark { return (wanted, end) }
        guard let origin = request.origin.offset(offsets) else {
            throw .outOfRange(
                wanted, of: partition, offsets,
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
                throw GRPCStatus(error, of: partition)
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
            throw GRPCStatus(error).about("group", group)
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
