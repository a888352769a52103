// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet backup` and `martlet restore`.

import Bytes
import ArgumentParser
import Glibc
import Martlet
import Storage
import Telemetry

struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Copy the data of a running broker, consistently.",
        discussion: """
            Asks the broker that runs in --data, on this machine and as its user. The copy
            is of one moment: records, commits, groups and transactions fit together, and
            everything that was acked before is in it. Segments that are full become hard
            links where the target is on the same file system, so it costs little; the
            rest is copied. The broker goes on meanwhile. It is the broker that writes, so
            the target lies where it may: under the Debian package in /var/lib/martlet.

              runuser -u martlet -- martlet backup --data /var/lib/martlet/data \\
                  /var/lib/martlet/backups/2026-11-28
            """)

    @Argument(help: "A directory that does not exist yet; its parent does, and the broker may write there.", completion: .directory)
    var target: String

    @Option(help: ArgumentHelp("The broker's data directory.", valueName: "directory"))
    var data = "data"

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let request = "{\"command\":\"backup\",\"directory\":\(JSONText.quoted(Environment.absolute(target)))}"
        let answer = try ControlSocket.ask(request, in: Environment.absolute(data))
        if let error = answer["error"]?.text { throw CommandError(error) }
        // In a container, or with a /tmp of its own, the broker has other files under the same name.
        guard Backup.exists(at: Environment.absolute(target)) else {
            throw CommandError(
                "the broker wrote \(Environment.absolute(target)), but not where this command sees it: it has a directory of its own"
                    + " there, as /tmp is with PrivateTmp of its unit; name one that both see, such as one beside its data")
        }
        func number(_ key: String) -> Int {
            if case .number(let value) = answer[key] { Int(value) } else { 0 }
        }
        if json {
            let keys = ["logs", "files", "linked_files", "bytes", "copied_bytes", "ms"]
            return Terminal.print("{\(keys.map { "\"\($0)\":\(number($0))" }.joined(separator: ","))}")
        }
        Terminal.print(
            "wrote \(Environment.absolute(target)): \(number("logs")) logs, \(number("bytes")) bytes, "
                + "\(number("copied_bytes")) of them copied, in \(number("ms")) ms")
    }
}

struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Make a data directory from a backup.",
        discussion: """
            Copies, so that the backup stays what it is; no broker is needed. Then start
            one with the new directory: it recovers as after a crash at the moment of the
            backup. `martlet verify` checks a directory before that. What runs it owns
            the files: be the broker's user.

              runuser -u martlet -- martlet restore /var/lib/martlet/backups/2026-11-28 \\
                  --data /var/lib/martlet/restored
            """)

    @Argument(help: "What `martlet backup` wrote.", completion: .directory)
    var backup: String

    @Option(help: ArgumentHelp("The new data directory; it is missing or empty.", valueName: "directory"))
    var data: String

    func run() throws {
        do throws(StorageError) {
            let target = try BackupDirectory(Environment.absolute(data))
            let report = try Backup.restore(from: Environment.absolute(backup), to: target)
            Terminal.print("restored \(report.logs) logs, \(report.bytes) bytes to \(Environment.absolute(data))")
        } catch {
            throw CommandError(error.message)
        }
    }
}
