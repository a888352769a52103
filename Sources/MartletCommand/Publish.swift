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

    @OptionGroup var lines: WriteArguments

    @Option(help: ArgumentHelp("Send records when they have this many bytes together.", valueName: "bytes"))
    var batchBytes = 64 * 1024

    func validate() throws {
        guard (1...(1 << 20)).contains(batchBytes) else {
            throw ValidationError("--batch-bytes is from 1 to \(1 << 20)")
        }
    }

    func run() throws {
        try lines.write { connection throws(ClientError) in
            try StreamWriter(client: GRPCClient(connection), topic: lines.topic, partition: lines.partition, batchBytes: batchBytes)
        }
    }
}
