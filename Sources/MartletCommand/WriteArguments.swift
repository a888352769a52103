// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: what `martlet produce` and `martlet publish` have in common: lines become records of a topic.

import ArgumentParser
import Client

/// Where records go, and what they are made of.
struct WriteArguments: ParsableArguments {
    @Argument(help: "The topic; brokers that create topics on first use create it.")
    var topic: String

    @OptionGroup(title: "Connection") var client: ClientArguments
    @OptionGroup(title: "Records") var input: LineArguments

    @Option(help: "Write to this partition. Default: by key, as Kafka's clients do.")
    var partition: Int32?

    @Flag(help: "Say on standard error how many records were written.")
    var verbose = false

    /// Writes the lines of standard input with what `makeWriter` makes.
    func write<Writer: RecordWriter>(_ makeWriter: (ConnectionOptions) throws(ClientError) -> Writer) throws {
        let connection = try client.options()
        let written = try checked { () throws(ClientError) in
            let lines = try input.options()
            let writer = try makeWriter(connection)
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
