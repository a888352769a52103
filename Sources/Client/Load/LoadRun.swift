// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: one load run, from finding the topic to the report.
//
// Called by a thread that may wait; it only waits while the loops work. Connections are spread over
// the loops and opened before the clock starts. A run by time stops counting on every loop at its
// end, then waits for what is on its way.

import Bytes
import KafkaWire
import NIOCore
import NIOPosix
import Synchronization

/// Runs a load.
package struct LoadRun {
    private let options: LoadOptions
    private static let drainMs: Int64 = 10_000
    private static let progressMs: Int64 = 500

    package init(_ options: LoadOptions) throws(ClientError) {
        try options.check()
        self.options = options
    }

    /// Runs, and reports. `onProgress` is called twice a second, on some thread, with the counts so
    /// far.
    package func run(
        onProgress: (@Sendable (_ records: Int, _ bytes: Int) -> Void)? = nil
    ) throws(ClientError) -> LoadReport {
        let driver = try makeDriver()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: options.threads)
        defer { try? group.syncShutdownGracefully() }
        do {
            return try drive(driver, on: group, onProgress: onProgress)
        } catch {
            throw ClientError(describing: error, on: options.connection.endpoint)
        }
    }

    private func makeDriver() throws(ClientError) -> any LoadDriver {
        switch options.mode {
        case .produce: return try produceDriver()
        case .fetch: return try fetchDriver()
        case .publish:
            try createTopic()
            return try PublishLoad(dialer: grpcDialer(), options: options)
        case .publishStream:
            try createTopic()
            return try PublishStreamLoad(dialer: grpcDialer(), options: options)
        case .subscribe: return try SubscribeLoad(dialer: grpcDialer(), options: options)
        case .work: return try WorkLoad(dialer: grpcDialer(), options: options)
        case .latency:
            try createTopic()
            return try LatencyLoad(dialer: grpcDialer(), options: options, isEcho: false)
        case .echo: return try LatencyLoad(dialer: grpcDialer(), options: options, isEcho: true)
        }
    }

    private func createTopic() throws(ClientError) {
        guard let partitions = options.partitions else { return }
        try KafkaClient(options.connection).createTopic(options.topic, partitions: partitions)
    }

    private func grpcDialer() throws(ClientError) -> Dialer {
        try Dialer(options.connection, applicationProtocols: ["h2"])
    }

    private func produceDriver() throws(ClientError) -> ProduceLoad {
        let client = try KafkaClient(options.connection)
        let leaders = try findLeaders(client)
        let version = try client.connection(to: leaders[0].leader).version(
            of: .produce, limit: ProduceLoad.versionLimit)
        return try ProduceLoad(
            dialer: Dialer(options.connection), options: options, leaders: leaders,
            version: version, clock: SystemClock())
    }

    private func fetchDriver() throws(ClientError) -> FetchLoad {
        let client = try KafkaClient(options.connection)
        var targets: [FetchLoad.Target] = []
        for leader in try client.leaders(of: options.topic, creates: false) {
            typealias Special = ListOffsetsRequest.SpecialTimestamp
            func offset(_ timestamp: Int64) throws(ClientError) -> Int64 {
                try client.offset(
                    atTimestamp: timestamp, topic: options.topic, partition: leader)
            }
            let start = try offset(Special.earliest)
            guard try offset(Special.latest) > start else { continue }
            targets.append(FetchLoad.Target(leader: leader, startOffset: start))
        }
        guard let first = targets.first else {
            throw ClientError(
                .invalidArgument,
                "topic '\(options.topic)' is empty: run 'martlet bench produce' on it first")
        }
        let version = try client.connection(to: first.leader.leader).version(
            of: .fetch, limit: FetchLoad.versionLimit)
        guard version >= 7 else {
            throw ClientError(.refused, "the broker speaks no version of Fetch from 7 to 11")
        }
        return try FetchLoad(
            dialer: Dialer(options.connection), options: options, targets: targets, version: version
        )
    }

    private func findLeaders(_ client: KafkaClient) throws(ClientError) -> [PartitionLeader] {
        if let partitions = options.partitions {
            try client.createTopic(options.topic, partitions: partitions)
        }
        return try client.leaders(of: options.topic, creates: true)
    }

    private func drive(
        _ driver: any LoadDriver, on group: MultiThreadedEventLoopGroup,
        onProgress: (@Sendable (Int, Int) -> Void)?
    ) throws -> LoadReport {
        let loops = Array(group.makeIterator().prefix(min(options.threads, options.connections)))
        let lanes = loops.enumerated().map { index, loop in
            LoadLane(loop: loop, records: share(index, of: loops.count))
        }
        var opened: [EventLoopFuture<Void>] = []
        for index in 0..<options.connections {
            opened.append(lanes[index % lanes.count].open(index, with: driver))
        }
        // All at once would overrun a listen backlog; the futures are in order, so waiting for each
        // is fine.
        for future in opened { _ = try future.wait() }
        let progress = lanes.map(\.progress)
        let ticker = onProgress.map { show in
            loops[0].scheduleRepeatedTask(
                initialDelay: .milliseconds(Self.progressMs), delay: .milliseconds(Self.progressMs)
            ) { _ in
                show(
                    progress.reduce(0) { $0 + $1.records.load(ordering: .relaxed) },
                    progress.reduce(0) { $0 + $1.bytes.load(ordering: .relaxed) })
            }
        }
        defer { ticker?.cancel() }
        return try measure(lanes)
    }

    private func measure(_ lanes: [LoadLane]) throws -> LoadReport {
        var report = LoadReport(mode: options.mode)
        for lane in lanes { lane.start() }
        let finished = EventLoopFuture.whenAllSucceed(lanes.map(\.finished), on: lanes[0].loop)
        var stop: EventLoopFuture<Void>?
        if case .milliseconds(let ms) = options.length {
            if options.warmupMs > 0 {
                let warm = lanes.map { $0.later(options.warmupMs) { $0.restartCounting() } }
                _ = try EventLoopFuture.whenAllSucceed(warm, on: lanes[0].loop).wait()
            }
            let stops = lanes.map { lane in lane.later(ms) { $0.stop() } }
            stop = EventLoopFuture.whenAllSucceed(stops, on: lanes[0].loop).map { _ in }
        }
        let serverBefore = options.serverPid.map { ProcessTime.seconds(pid: $0) }
        let clientBefore = ProcessTime.ownSeconds()
        try wait(stop, finished)
        report.clientCPUSeconds = ProcessTime.ownSeconds() - clientBefore
        if let pid = options.serverPid {
            guard let before = serverBefore ?? nil, let after = ProcessTime.seconds(pid: pid) else {
                throw ClientError(
                    .invalidArgument, "--server-pid \(pid): there is no such process, or it ended")
            }
            report.serverCPUSeconds = after - before
        }
        for lane in lanes { lane.stopConnections() }
        let limit = lanes[0].loop.scheduleTask(in: .milliseconds(Self.drainMs)) {
            for lane in lanes { lane.giveUp() }
        }
        let counts = try finished.wait()
        limit.cancel()
        return merged(counts, into: report)
    }

    /// Until the time is over, or everything is done or failed.
    private func wait(
        _ stop: EventLoopFuture<Void>?, _ finished: EventLoopFuture<[LoadCounts]>
    ) throws {
        guard let stop else {
            _ = try finished.wait()
            return
        }
        let either = stop.eventLoop.makePromise(of: Void.self)
        stop.whenSuccess { either.succeed() }
        finished.whenFailure { either.fail($0) }
        try either.futureResult.wait()
    }

    private func merged(_ counts: [LoadCounts], into empty: LoadReport) -> LoadReport {
        var report = empty
        for count in counts {
            report.requests += count.requests
            report.records += count.records
            report.bytes += count.bytes
            report.refusals += count.refusals
            report.firstRefusal = report.firstRefusal ?? count.firstRefusal
            report.gaps += count.gaps
            report.latencies.merge(count.latencies)
            report.seconds = max(report.seconds, Double(count.endNs &- count.startNs) / 1e9)
        }
        return report
    }

    /// A lane's part of the records of a run by number.
    private func share(_ index: Int, of count: Int) -> Int {
        guard case .records(let records) = options.length else { return .max }
        return records / count + (index < records % count ? 1 : 0)
    }
}
