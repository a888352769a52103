// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet produce`: lines become records, over Kafka's protocol.

import ArgumentParser
import Client

struct ProduceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "produce",
        abstract: "Write lines of standard input to a topic, one record each.",
        discussion: """
            Works with any broker that speaks Kafka's protocol. Records are sent in
            batches while there is input, and at once when it pauses. The status is 0
            when every record was acknowledged.

              echo 'key:value' | martlet produce greetings --key-separator :
            """)

    @OptionGroup var lines: WriteArguments

    @Option(help: "Who must have a record before it counts as written.")
    var acks = AcksArgument.all

    @Option(help: "How batches are compressed.")
    var compression = CompressionArgument.none

    @Option(
        help: ArgumentHelp("Send a batch when it has this many bytes.", valueName: "bytes"))
    var batchBytes = 256 * 1024

    func validate() throws {
        guard (1...(64 << 20)).contains(batchBytes) else {
            throw ValidationError("--batch-bytes is from 1 to \(64 << 20)")
        }
    }

    func run() throws {
        var writing = WriterOptions()
        writing.acks = acks.number
        writing.compression = compression.type
        writing.partition = lines.partition
        writing.batchBytes = batchBytes
        try lines.write { connection throws(ClientError) in
            try TopicWriter(client: KafkaClient(connection), topic: lines.topic, options: writing)
        }
    }
}
