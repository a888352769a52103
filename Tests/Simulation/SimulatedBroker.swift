// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: one run of the broker's process, from start to stop or crash, in this thread.
//
// Puts the real parts together in the order of `BrokerParts`, without sockets, threads and certificates: connections are
// embedded channels on one embedded event loop, and sync rounds run when the life says so.

import Bytes
import Engine
import GRPCServer
import KafkaServer
import Logging
import NIOCore
import NIOEmbedded
import Storage
import Synchronization
import Telemetry
import Transport

final class SimulatedBroker {
    let loop = EmbeddedEventLoop()
    let engine: Engine
    let groupCommit: GroupCommit
    let kafka: KafkaServer
    let grpc: GRPCServer
    /// The same, but requests of a turn share batches, as they do outside of the simulation.
    private(set) lazy var sharing = GRPCServer(engine: engine, metrics: Metrics(), logger: logger)
    private let logger: Logger
    let wasCleanlyClosed: Bool
    let complaints: Complaints

    /// Ids are drawn from `ids`, so that they are the same in every process.
    init(files: SimulatedFileSystem, clock: ManualClock, ids: Ids, complaints: Complaints) throws {
        self.complaints = complaints
        let logger = Logger(label: "simulation") { _ in ComplaintHandler(complaints: complaints) }
        self.logger = logger
        var configuration = EngineConfiguration()
        configuration.durability = .disk
        configuration.autoCreateTopics = false
        configuration.groups = .development
        configuration.groups.offsetsRetentionMs = 1 << 50
        let directory = try DataDirectory(
            fileSystem: files, clock: clock, logger: logger, makeId: { TopicId(random: { ids.next() }) })
        wasCleanlyClosed = directory.wasCleanlyClosed
        groupCommit = GroupCommit(fileSystem: files, clock: clock)
        let metrics = Metrics()
        engine = try Engine(
            configuration: configuration, directory: directory, groupCommit: groupCommit, loop: loop, clock: clock,
            metrics: metrics, logger: logger, random: { ids.next() })
        kafka = KafkaServer(engine: engine, advertised: nil, metrics: metrics, logger: logger)
        // The oracle knows batches by what was sent in them: each request gets its own.
        grpc = GRPCServer(engine: engine, metrics: metrics, logger: logger, gatheredBatchBytes: 1)
    }

    /// The loop's time. Here, where the loop's module is imported: elsewhere the same words may mean the machine's time.
    var nowMs: Int64 { Int64(loop.now.uptimeNanoseconds / 1_000_000) }

    /// Ends the turn: what was appended is written and answered.
    func turn() { loop.run() }

    /// Takes a dead process apart. The machine is down, so that nothing of this reaches the disk.
    func discard() {
        loop.run()
        groupCommit.releaseDelayed()
        while groupCommit.runRound() { loop.run() }
        engine.prepareToShutDown()
        try? engine.shutDown()
        loop.run()
    }

    func partition(_ model: PartitionModel) -> Partition? {
        engine.topics.topic(named: model.topic)?.partition(model.index)
    }

    static let peer = ConnectionContext(
        id: 1, localHost: "broker.example", localPort: 9092, remoteAddress: "127.0.0.1", remotePort: 50_000)
}

/// Random words for ids, shared with the broker's closures.
final class Ids: Sendable {
    private let generator: Mutex<SeededGenerator>

    init(seed: UInt64) { generator = Mutex(SeededGenerator(seed: seed)) }

    func next() -> UInt64 { generator.withLock { $0.next() } }
}

/// What the broker logged.
final class Complaints: Sendable {
    private let state = Mutex<[String]>([])

    func add(_ message: String) { state.withLock { $0.append(message) } }

    /// What came since the last time.
    func news(after seen: inout Int) -> [String] {
        state.withLock { all in
            defer { seen = all.count }
            return Array(all[seen...])
        }
    }

    func count(containing text: String) -> Int {
        state.withLock { $0.count { $0.contains(text) } }
    }
}

private struct ComplaintHandler: LogHandler {
    let complaints: Complaints
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    var logLevel = Logger.Level.notice

    init(complaints: Complaints) { self.complaints = complaints }

    subscript(metadataKey key: String) -> Logger.MetadataValue? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let details = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        complaints.add("\(event.message)\(details)")
    }
}
