// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet consume`: prints records, over Kafka's protocol.

import ArgumentParser
import Client

struct ConsumeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "consume",
        abstract: "Print the records of a topic.",
        discussion: """
            Works with any broker that speaks Kafka's protocol. Reads all partitions, or
            those that --partition names. With --group it goes on where that group has
            committed, and commits what it has printed; it does not join the group, so
            this works while the group has no members.

            FORMAT: \(RecordFormat.help)

              martlet consume greetings --from earliest --exit-at-end --format '%o %k %s\\n'
            """)

    @Argument(help: "The topic.")
    var topic: String

    @OptionGroup(title: "Connection") var client: ClientArguments
    @OptionGroup(title: "Records") var reading: ReadingArguments

    @Option(
        name: .customLong("partition"),
        help: ArgumentHelp("Read only this partition; may be repeated.", valueName: "partition"))
    var partitions: [Int32] = []

    @Option(help: "Go on where this group has committed, and commit what was printed.")
    var group: String?

    func run() throws {
        let connection = try client.options()
        try checked { () throws(ClientError) in try consume(connection) }
    }

    private func consume(_ connection: ConnectionOptions) throws(ClientError) {
        let format = try RecordFormat(reading.format)
        let start = try StartPosition(reading.from)
        let kafka = try KafkaClient(connection)
        var offsets: GroupOffsets?
        if let group { offsets = try GroupOffsets(client: kafka, group: group) }
        let reader = try TopicReader(
            client: kafka, topic: topic, partitions: partitions, from: start, group: offsets,
            stopsAtEnd: reading.exitAtEnd)
        var output = StandardOutput()
        var left = reading.maxMessages ?? .max
        while left > 0 && !reader.isDone && !output.isClosed {
            try reader.poll { record in
                output.write { format.write(record, into: &$0) }
                left -= 1
                return left > 0 && !output.isClosed
            }
            output.flush()
            if !output.isClosed { try offsets?.commit(topic: topic, reader.nextOffsets) }
        }
    }
}

/// What to read and how to print it; the same for Kafka and gRPC.
struct ReadingArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "earliest, latest, an offset, or @ and milliseconds since 1970.", valueName: "start"))
    var from = "latest"

    @Option(help: ArgumentHelp("Stop after this many records.", valueName: "count"))
    var maxMessages: Int?

    @Flag(
        inversion: .prefixedNo, exclusivity: .exclusive,
        help: "Wait for new records at the end. The opposite of --exit-at-end.")
    var follow = true

    @Flag(name: .customLong("exit-at-end"), help: "Stop at the records that are there now.")
    var stopsAtEnd = false

    @Option(help: ArgumentHelp("How a record is printed.", valueName: "format"))
    var format = "%s\\n"

    var exitAtEnd: Bool { stopsAtEnd || !follow }

    func validate() throws {
        if let maxMessages, maxMessages < 1 {
            throw ValidationError("--max-messages is at least 1")
        }
        do {
            _ = try StartPosition(from)
            _ = try RecordFormat(format)
        } catch {
            throw ValidationError(error.message)
        }
    }
}
