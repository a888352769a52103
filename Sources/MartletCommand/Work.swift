// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet work`: takes jobs from a queue, looks at its dead letters, puts them back.

import ArgumentParser
import Client
import Glibc
import NIOCore
import Records

struct WorkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "work", abstract: "Work on the jobs of a queue, over gRPC; look at dead letters, put them back.",
        discussion: """
            A topic is a work queue for every group that takes jobs from it: each job goes
            to one worker, comes again if that one fails, and after five deliveries goes to
            the topic dlq.GROUP.

              martlet work mails --group mailers -- ./send-mail
              martlet work mails --group mailers --print
              martlet work dead-letters dlq.mailers
              martlet work redrive dlq.mailers
            """,
        subcommands: [WorkReceiveCommand.self, DeadLettersCommand.self, RedriveCommand.self],
        defaultSubcommand: WorkReceiveCommand.self)
}

struct WorkReceiveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "receive",
        abstract: "Run a command for each job, or print the jobs.",
        discussion: """
            The command gets the job's value as its standard input, and in its environment
            MARTLET_TOPIC, MARTLET_PARTITION, MARTLET_OFFSET, MARTLET_DELIVERY_COUNT and,
            if the job has a key, MARTLET_KEY. Status 0: the job is done. Status 65
            (EX_DATAERR): it is a dead letter at once. Anything else: it comes again,
            to any worker, after --retry-delay. Start several for more at once; while a
            command runs its job stays with it.

            FORMAT: \(RecordFormat.help)
            """)

    @Argument(help: "The topic whose records are the jobs.")
    var topic: String

    @Argument(parsing: .postTerminator, help: "After --, the command and its arguments.")
    var command: [String] = []

    @Option(help: "Whose queue it is.")
    var group: String

    @Option(
        name: .customLong("topic"),
        help: ArgumentHelp("Another topic with jobs for the same group; may be repeated.", valueName: "topic"))
    var others: [String] = []

    @OptionGroup(title: "Connection") var client: ClientArguments

    @Flag(help: "Print jobs instead of running a command. A job that is printed is done.")
    var print = false

    @Option(help: "How jobs are printed.")
    var format = "%s\\n"

    @Option(help: ArgumentHelp("How long a job that failed waits.", valueName: "seconds"))
    var retryDelay = 10.0

    @Option(help: "Where a group that is new begins: earliest or latest.")
    var from = Beginning.earliest

    @Option(help: ArgumentHelp("How long a job is ours if nothing is heard of us. Default: the group's.", valueName: "ms"))
    var leaseMs: UInt32 = 0

    @Option(help: "Where dead letters go; none for nowhere. Default: dlq. and the group's name.")
    var deadLetterTopic: String?

    @Option(help: ArgumentHelp("End after so many jobs.", valueName: "count"))
    var maxJobs: Int?

    @Option(help: ArgumentHelp("End when there was no job for so long.", valueName: "seconds"))
    var exitWhenIdle: Double?

    @Flag(help: "Say on standard error what becomes of each job.")
    var verbose = false

    enum Beginning: String, ExpressibleByArgument, CaseIterable {
        case earliest, latest
    }

    private static let dataError: Int32 = 65
    private static let secondsMax = 604_800.0

    func validate() throws {
        guard print != !command.isEmpty else {
            throw ValidationError("Give a command after --, or --print.")
        }
        guard maxJobs ?? 1 > 0 else { throw ValidationError("--max-jobs is 1 or more") }
        for (name, seconds) in [("--retry-delay", retryDelay), ("--exit-when-idle", exitWhenIdle ?? 0)] {
            guard seconds >= 0, seconds <= Self.secondsMax else {
                throw ValidationError("\(name) is from 0 to \(Int(Self.secondsMax)) seconds")
            }
        }
    }

    func run() throws {
        var options = WorkOptions(group: group, topics: [topic] + others)
        options.maxInFlight = print ? 100 : 1
        options.leaseMs = leaseMs
        options.startsEarliest = from == .earliest
        options.deadLetterTopic = deadLetterTopic.map { $0 == "none" ? "" : $0 }
        options.maxJobs = maxJobs
        options.idleMs = exitWhenIdle.map { Int64($0 * 1000) }
        let connection = try client.options()
        var failure: (any Error)?
        let settled = try checked { () throws(ClientError) in
            let session = try WorkSession(GRPCClient(connection), options)
            if print { return try printJobs(session) }
            return try session.run { (job) throws(ClientError) in
                do {
                    return try runCommand(job)
                } catch {
                    failure = error
                    return nil
                }
            }
        }
        if let failure { throw failure }
        if verbose { Terminal.write("\(settled) jobs\n", to: STDERR_FILENO) }
    }

    private func printJobs(_ session: WorkSession) throws(ClientError) -> Int {
        let format = try RecordFormat(format)
        var output = StandardOutput()
        return try session.run { (job) throws(ClientError) in
            output.write { format.write(job.record, into: &$0) }
            output.flush()
            return output.isClosed ? nil : .done
        }
    }

    private func runCommand(_ job: WorkJob) throws -> WorkOutcome {
        let record = job.record
        var variables = [
            "MARTLET_TOPIC": record.topic, "MARTLET_PARTITION": "\(record.partition)",
            "MARTLET_OFFSET": "\(record.record.offset)", "MARTLET_DELIVERY_COUNT": "\(job.deliveryCount)",
        ]
        if let key = record.record.key, !key.readableBytesView.contains(0) { variables["MARTLET_KEY"] = String(buffer: key) }
        let outcome = try ChildProcess.run(command, variables: variables, input: record.record.value ?? ByteBuffer())
        let place = "\(record.topic)/\(record.partition) offset \(record.record.offset), delivery \(job.deliveryCount)"
        switch outcome {
        case .exited(0):
            if verbose { Terminal.write("\(place): done\n", to: STDERR_FILENO) }
            return .done
        case .exited(Self.dataError):
            Terminal.write("\(place): refused by \(command[0]), a dead letter\n", to: STDERR_FILENO)
            return .dead(reason: "\(command[0]) ended with status \(Self.dataError)")
        case .exited(let status):
            Terminal.write("\(place): \(command[0]) ended with status \(status)\n", to: STDERR_FILENO)
        case .killed(let signal):
            Terminal.write("\(place): \(command[0]) was ended by signal \(signal)\n", to: STDERR_FILENO)
        }
        return .again(delayMs: UInt64(retryDelay * 1000))
    }
}
