// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet work dead-letters` and `redrive`: what became of jobs that nobody could do.

import ArgumentParser
import Client
import Glibc
import NIOCore
import Records

struct DeadLettersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dead-letters",
        abstract: "Print the dead letters of a topic, and why each is one.",
        discussion: """
            Where it comes from, its group, how often it was delivered, why it was given up,
            and its value. Reading takes nothing away. The topic keeps a dead letter until its
            retention ends, also when `martlet work redrive` has put it back: those are left
            out. With --all they are printed as well, and the word before the value is
            `put-back` for them, `waiting` for the others.
            """)

    @Argument(help: "The dead-letter topic: dlq. and the group's name.")
    var topic: String

    @Flag(help: "Also those that were put back.")
    var all = false

    @OptionGroup(title: "Connection") var client: ClientArguments

    func run() throws {
        let connection = try client.options()
        try checked { () throws(ClientError) in
            let redriven = try GRPCClient(connection).redrivenLetters(of: topic)
            if redriven.isIncomplete {
                Terminal.write("some of these may have been put back already\n", to: STDERR_FILENO)
            }
            let subscription = RecordSubscription(topics: [topic], from: .earliest, stopsAtEnd: true)
            var output = StandardOutput()
            try subscription.run(connection) { records in
                for found in records {
                    let isRedriven = redriven.contains(found.record.offset, of: found.partition)
                    guard all || !isRedriven else { continue }
                    output.write { write(found, isRedriven, into: &$0) }
                }
                output.flush()
                return !output.isClosed
            }
        }
    }

    private func write(_ found: ReadRecord, _ isRedriven: Bool, into buffer: inout ByteBuffer) {
        func header(_ name: String) -> String {
            found.record.headers.last { $0.key == "__dlq.errors.\(name)" }?.value.map { String(buffer: $0) } ?? "-"
        }
        let count = header("delivery.count")
        buffer.writeString("\(header("topic"))/\(header("partition")) offset \(header("offset"))\tgroup \(header("group"))\t")
        buffer.writeString("\(count) deliver\(count == "1" ? "y" : "ies")\t\(header("message"))\t")
        if all { buffer.writeString(isRedriven ? "put-back\t" : "waiting\t") }
        if let value = found.record.value { buffer.writeImmutableBuffer(value) }
        buffer.writeString("\n")
    }
}

struct RedriveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redrive",
        abstract: "Put dead letters back into the topics that they come from, each once.")

    @Argument(help: "The dead-letter topic: dlq. and the group's name.")
    var topic: String

    @Option(help: "Only dead letters of this group.")
    var group = ""

    @Option(help: ArgumentHelp("At most so many.", valueName: "count"))
    var maxRecords: Int?

    @OptionGroup(title: "Connection") var client: ClientArguments

    func validate() throws {
        guard maxRecords ?? 1 > 0 else { throw ValidationError("--max-records is 1 or more") }
    }

    func run() throws {
        let connection = try client.options()
        let (redriven, skipped) = try checked { () throws(ClientError) in
            try GRPCClient(connection).redrive(topic, group: group, maxRecords: maxRecords)
        }
        Terminal.print("\(redriven) put back" + (skipped > 0 ? ", \(skipped) left" : ""))
    }
}
