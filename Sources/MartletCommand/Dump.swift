// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet dump`: what segment files hold.

import ArgumentParser
import Client

struct DumpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dump",
        abstract: "Print segment files and check them for damage.",
        discussion: """
            Reads .log, .index and .timeindex files of Martlet and of Kafka, and never
            writes. The status is 0 if everything is sound and 1 if something is
            damaged: each place is printed on a line that begins with DAMAGED.

              martlet dump --deep data/greetings-0/00000000000000000000.log
            """)

    @Argument(help: "The files.", completion: .file(extensions: ["log", "index", "timeindex"]))
    var files: [String]

    @Flag(help: "Print every record, not only batches.")
    var deep = false

    func run() throws {
        let output = SharedOutput()
        var dump = SegmentDump(isDeep: deep) { line in
            output.stream.write { _ = $0.writeString(line + "\n") }
            return !output.stream.isClosed
        }
        defer { output.stream.flush() }
        for file in files { try checked { () throws(ClientError) in try dump.dump(file) } }
        output.stream.flush()
        let damages = dump.damageCount
        if damages > 0 {
            throw CommandError("\(damages) damaged places, see the lines that begin with DAMAGED")
        }
    }
}

/// The output that the dump's sink writes to; one thread has it.
private final class SharedOutput {
    var stream = StandardOutput()
}
