// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet bench`: loads a broker and says how fast it is.

import ArgumentParser
import Client
import Glibc

/// What is loaded.
enum BenchMode: String, ExpressibleByArgument, CaseIterable {
    case produce, fetch, publish
    case publishStream = "publish-stream"
    case subscribe, work, latency, echo

    var mode: LoadMode {
        switch self {
        case .produce: .produce
        case .fetch: .fetch
        case .publish: .publish
        case .publishStream: .publishStream
        case .subscribe: .subscribe
        case .work: .work
        case .latency: .latency
        case .echo: .echo
        }
    }
}

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Load a broker and report rates, latencies and CPU time.",
        discussion: """
            produce and fetch load any broker that speaks Kafka's protocol; the others
            load Martlet's gRPC services. The load is closed: a connection sends the next
            request when an answer makes room for it, or at a steady --rate. fetch and
            subscribe read a topic from its start to its end, over and over, and compare
            the offsets; fill it with produce first. work receives and acknowledges the
            jobs of a topic, for a group of its own unless --group names one, and counts
            them when they are confirmed: use --records, no more than there are. latency
            measures from a publisher to a subscriber, at --rate records a second; echo
            does the same with a call that the broker answers at once.

            Requests are encoded before the clock starts. With --acks 0 nothing is
            answered, so records count when the connection takes them. MB are 1,000,000
            bytes of values (produce, publish), of batches (fetch) or of messages
            (subscribe). Progress is shown on a terminal only. The status is 1 if any
            request was refused.

              martlet bench produce --topic load --connections 100 --acks 1
              martlet bench fetch --topic load --duration 5
              martlet bench subscribe --topic load --json
              martlet bench publish-stream --record-size 100 --in-flight 4000
              martlet bench work --topic load --in-flight 1000 --records 100000
              martlet bench latency --rate 1000
            """)

    @Argument(help: "What to load: \(BenchMode.allCases.map(\.rawValue).joined(separator: ", ")).")
    var mode: BenchMode

    @OptionGroup(title: "Connection") var client: ClientArguments
    @OptionGroup(title: "Load") var load: LoadArguments

    @Flag(help: "Print one JSON object instead of text.")
    var json = false

    func run() throws {
        let options = try load.options(mode.mode, client.options())
        let isShown = !json && isatty(STDERR_FILENO) == 1
        let report = try checked { () throws(ClientError) in
            try LoadRun(options).run(onProgress: isShown ? Self.showProgress : nil)
        }
        if isShown { Terminal.write("\r\u{1b}[K", to: STDERR_FILENO) }
        Terminal.print(json ? report.json : report.text)
        if report.refusals > 0 { throw ExitCode(1) }
    }

    private static func showProgress(records: Int, bytes: Int) {
        Terminal.write("\r\u{1b}[K\(records) records, \(bytes / 1_000_000) MB", to: STDERR_FILENO)
    }
}

/// What the load is like.
struct LoadArguments: ParsableArguments {
    @Option(help: "The topic. produce and publish create it if the broker lets them.")
    var topic = "bench"

    @Option(help: "Create the topic with so many partitions if it does not exist.")
    var partitions: Int32?

    @Option(help: ArgumentHelp("Connections, spread over the partitions.", valueName: "count"))
    var connections = 1

    @Option(
        help: ArgumentHelp(
            "Requests that wait for answers, on each connection.", valueName: "count"))
    var inFlight = 1

    @Option(help: ArgumentHelp("Records a second of each connection (publish-stream, latency, echo).", valueName: "count"))
    var rate = 0

    @Flag(help: "Read what is written from now on (subscribe).")
    var follow = false

    @Option(help: "Whose jobs they are (work).")
    var group = ""

    @Option(help: ArgumentHelp("Threads that drive the connections.", valueName: "count"))
    var threads = 1

    @Option(help: ArgumentHelp("Bytes of a record's value.", valueName: "bytes"))
    var recordSize = 1024

    @Option(
        help: ArgumentHelp(
            """
            Bytes of a batch (produce, publish; default one record), of a fetch (1 MiB) \
            or of a message (subscribe; the broker's choice).
            """, valueName: "bytes"))
    var batchBytes = 0

    @Option(help: "Who must have a record before it counts as written (produce).")
    var acks = AcksArgument.all

    @Option(help: "How batches are compressed (produce).")
    var compression = CompressionArgument.none

    @Option(help: ArgumentHelp("How long to measure. Default: 10.", valueName: "seconds"))
    var duration: Double?

    @Option(help: ArgumentHelp("Stop after so many records instead.", valueName: "count"))
    var records: Int?

    @Option(help: ArgumentHelp("Load before measuring (with --duration).", valueName: "seconds"))
    var warmup = 0.0

    @Option(
        help: ArgumentHelp("Report the CPU time of this process on this machine.", valueName: "pid")
    )
    var serverPid: Int32?

    private static let secondsMax = 86_400.0

    func validate() throws {
        guard duration == nil || records == nil else {
            throw ValidationError("--duration and --records exclude each other")
        }
        for (name, seconds) in [("--duration", duration ?? 1), ("--warmup", warmup)] {
            guard seconds >= 0, seconds <= Self.secondsMax else {
                throw ValidationError("\(name) is from 0 to \(Int(Self.secondsMax)) seconds")
            }
        }
        guard records == nil || warmup == 0 else {
            throw ValidationError("--warmup goes with --duration, not with --records")
        }
    }

    func options(_ mode: LoadMode, _ connection: ConnectionOptions) throws -> LoadOptions {
        var options = LoadOptions(mode: mode, connection: connection, topic: topic)
        options.partitions = partitions
        options.connections = connections
        options.inFlight = inFlight
        options.threads = threads
        options.recordSize = recordSize
        options.batchBytes = batchBytes
        options.acks = acks.number
        options.compression = compression.type
        options.length =
            records.map { .records($0) } ?? .milliseconds(Int64((duration ?? 10) * 1000))
        options.warmupMs = Int64(warmup * 1000)
        options.serverPid = serverPid
        options.rate = rate == 0 && (mode == .latency || mode == .echo) ? 1000 : rate
        options.follows = follow
        options.group = group
        try checked { () throws(ClientError) in try options.check() }
        return options
    }
}
