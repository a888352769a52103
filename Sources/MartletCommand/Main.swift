// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: where the process begins, and how it ends.
//
// Every failure leaves as one line on standard error that says what, where and what to do next. Exit status: 0 done, 1 it
// could not be done, 64 the command line was wrong (EX_USAGE), 78 a broker's configuration was (EX_CONFIG).

import ArgumentParser
import Glibc
import Martlet

@main
enum Main {
    @MainActor
    static func main() async {
        // Writing to a pipe whose reader has gone is an error to handle, not a reason to die.
        signal(SIGPIPE, SIG_IGN)
        // So is a file that reaches the process's size limit (ulimit -f).
        signal(SIGXFSZ, SIG_IGN)
        do {
            if let start = BrokerCommand.plainStart(Array(CommandLine.arguments.dropFirst())) {
                try BrokerProcess.run(start.command, arguments: start.settings)
            }
            var command = try RootCommand.parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            end(error)
        }
    }

    static func end(_ error: any Error) -> Never {
        let code = RootCommand.exitCode(for: error)
        guard !code.isSuccess else {
            // Help and version were asked for.
            Terminal.write(RootCommand.fullMessage(for: error) + "\n", to: STDOUT_FILENO)
            exit(0)
        }
        let (message, status) = explain(error, code)
        if !message.isEmpty { Terminal.write("error: \(message)\n", to: STDERR_FILENO) }
        exit(status)
    }

    private static func explain(_ error: any Error, _ code: ExitCode) -> (String, Int32) {
        switch error {
        case let error as ConfigurationError: (error.description, error.isUsage ? ExitCode.validationFailure.rawValue : 1)
        case let error as BrokerError: (error.description, 1)
        case let error as CommandError: (error.description, error.isUsage ? ExitCode.validationFailure.rawValue : 1)
        case is ExitCode: ("", code.rawValue)
        case _ where code == .validationFailure: (usage(error), code.rawValue)
        default: ("\(error)", 1)
        }
    }

    /// The parser's message on one line, with where to read on.
    private static func usage(_ error: any Error) -> String {
        let lines = RootCommand.message(for: error).split(separator: "\n").map { $0.drop { $0 == " " } }
        return lines.joined(separator: " ") + " (see `martlet help`)"
    }
}
