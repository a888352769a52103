// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet dump`: what segment files hold.

import ArgumentParser
import Client
import NIOCore

struct DumpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dump",
        abstract: "Print segment files and check them for damage.",
        discussion: """
            Reads .log, .index, .timeindex, .snapshot and .txnindex files of Martlet and
            of Kafka, and never writes. The lines and the flags are those of Kafka's
            kafka-dump-log.sh. The status is 0 if everything is sound and 1 if something
            is damaged: each place is printed on a line that begins with DAMAGED.

              martlet dump --deep data/greetings-0/00000000000000000000.log
            """)

    @Argument(
        help: "The files.",
        completion: .file(extensions: ["log", "index", "timeindex", "snapshot", "txnindex"]))
    var paths: [String] = []

    @Option(help: "The files, separated by commas.")
    var files: String?

    @Flag(help: "Print every record with its key and value.")
    var deep = false

    @Flag(help: "The same, under Kafka's name.")
    var printDataLog = false

    @Flag(help: "Print every record, without its key and value.")
    var deepIteration = false

    @Flag(help: "Decode keys and values as those of __consumer_offsets; prints them.")
    var offsetsDecoder = false

    @Flag(help: "Check indexes without printing their entries.")
    var verifyIndexOnly = false

    func validate() throws {
        guard !allFiles.isEmpty else { throw ValidationError("name at least one file") }
    }

    private var allFiles: [String] { paths + (files?.split(separator: ",").map(String.init) ?? []) }

    func run() throws {
        let output = SharedOutput()
        var options = SegmentDump.Options()
        options.printsRecords = deepIteration
        options.printsContents = deep || printDataLog || offsetsDecoder
        options.decodesOffsets = offsetsDecoder
        options.onlyVerifiesIndexes = verifyIndexOnly
        var dump = SegmentDump(options) { line in
            output.stream.write { _ = $0.writeString(line + "\n") }
            return !output.stream.isClosed
        }
        defer { output.stream.flush() }
        for file in allFiles { try checked { () throws(ClientError) in try dump.dump(file) } }
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
