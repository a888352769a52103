// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet subscribe`: prints records, over gRPC.

import ArgumentParser
import Client

struct SubscribeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "subscribe",
        abstract: "Print the records of topics as they are streamed over gRPC.",
        discussion: """
            Calls martlet.v1.Streams/Subscribe. With --group it begins where that group
            has committed; it commits nothing.

            FORMAT: \(RecordFormat.help)

              martlet subscribe greetings --from earliest --format json
              martlet subscribe --pattern 'orders.*' --key-prefix eu- --header kind=new
            """)

    @Argument(help: "The topics.")
    var topics: [String] = []

    @Option(help: "Also topics of names like this, with * and ?, and those that come later.")
    var pattern: String?

    @OptionGroup(title: "Connection") var client: ClientArguments
    @OptionGroup(title: "Records") var reading: ReadingArguments

    @Option(
        name: .customLong("partition"),
        help: ArgumentHelp(
            "Only this partition of every topic; may be repeated.", valueName: "partition"))
    var partitions: [Int32] = []

    @Option(help: "Begin where this group has committed; --from counts where it has not.")
    var group: String?

    // `--key` is the file of a client certificate's key.
    @Option(name: .customLong("record-key"), help: ArgumentHelp("Only records with this key.", valueName: "key"))
    var key: String?

    @Option(
        name: .customLong("record-key-prefix"),
        help: ArgumentHelp("Only records whose key begins like this.", valueName: "prefix"))
    var keyPrefix: String?

    @Option(
        name: .customLong("record-value-prefix"),
        help: ArgumentHelp("Only records whose value begins like this.", valueName: "prefix"))
    var valuePrefix: String?

    @Option(
        name: .customLong("header"),
        help: ArgumentHelp("Only records with this header; may be repeated.", valueName: "name[=value]"))
    var headers: [String] = []

    @Flag(help: "Also records of transactions that are not committed.")
    var readUncommitted = false

    func validate() throws {
        guard topics.isEmpty, pattern == nil else { return }
        throw ValidationError("Name a topic, or give a --pattern.")
    }

    func run() throws {
        let connection = try client.options()
        try checked { () throws(ClientError) in
            let format = try RecordFormat(reading.format)
            let subscription = RecordSubscription(
                topics: topics, partitions: partitions, from: try StartPosition(reading.from),
                group: group, stopsAtEnd: reading.exitAtEnd, maxRecords: reading.maxMessages,
                pattern: pattern,
                filter: RecordSelection(
                    key: key, keyPrefix: keyPrefix, valuePrefix: valuePrefix, headers: headers),
                readsUncommitted: readUncommitted)
            var output = StandardOutput()
            try subscription.run(connection) { records in
                for record in records { output.write { format.write(record, into: &$0) } }
                output.flush()
                return !output.isClosed
            }
        }
    }
}
