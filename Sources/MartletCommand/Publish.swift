// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet publish`: lines become records, over gRPC.

import ArgumentParser
import Client

struct PublishCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "publish",
        abstract: "Write lines of standard input to a topic, one record each, over gRPC.",
        discussion: """
            Calls martlet.v1.Streams/PublishStream. Records are sent in batches while there
            is input, and at once when it pauses; every one is acknowledged when it is as
            durable as the broker promises. The status is 0 when all were.

              echo 'key:value' | martlet publish greetings --key-separator :
            """)

    @Argument(help: "The topic; brokers that create topics on first use create it.")
    var topic: String

    @OptionGroup(title: "Connection") var client: ClientArguments
    @OptionGroup(title: "Records") var input: LineArguments

    @Option(help: "Write to this partition. Default: by key, as Kafka's clients do.")
    var partition: Int32?

    @Option(help: ArgumentHelp("Send records when they have this many bytes together.", valueName: "bytes"))
    var batchBytes = 64 * 1024

    @Flag(help: "Say on standard error how many records were written.")
    var verbose = false

    func validate() throws {
        guard (1...(1 << 20)).contains(batchBytes) else {
            throw ValidationError("--batch-bytes is from 1 to \(1 << 20)")
        }
    }

    func run() throws {
        let connection = try client.options()
        let written = try checked { () throws(ClientError) in
            let lines = try input.options()
            let writer = try StreamWriter(
                client: GRPCClient(connection), topic: topic, partition: partition, batchBytes: batchBytes)
            var reader = LineReader()
            return try LineProducer.run(&reader, options: lines, writer: writer)
        }
        if verbose { Terminal.write("\(written) records written to \(topic)\n", to: 2) }
    }
}

/// How lines become records.
struct LineArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Text between key and value; a line without it has no key.", valueName: "text"))
    var keySeparator: String?

    @Option(
        name: .customLong("header"),
        help: ArgumentHelp("A header for every record; may be repeated.", valueName: "name=value"))
    var headers: [String] = []

    @Flag(help: "An empty value is written as null (a tombstone on a compacted topic).")
    var tombstones = false

    func validate() throws {
        guard keySeparator != "" else {
            throw ValidationError("--key-separator is empty: name the text between key and value")
        }
    }

    func options() throws(ClientError) -> LineOptions {
        var lines = LineOptions()
        lines.keySeparator = keySeparator
        lines.emptyIsTombstone = tombstones
        try lines.setHeaders(headers)
        return lines
    }
}
