// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: the command line's tree.

import ArgumentParser
import Martlet

struct RootCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet",
        abstract: "A Kafka broker with a gRPC front, in one small binary.",
        discussion: """
            First steps:
              martlet dev          start a broker for development on 127.0.0.1:9092
              martlet topic list   show its topics
              martlet help dev     show every setting of a broker
            """,
        version: Version.current,
        subcommands: [VersionCommand.self, HelpConfigurationCommand.self, HelpKafkaSupportCommand.self, BenchAccessCommand.self],
        groupedSubcommands: [
            CommandGroup(name: "Brokers", subcommands: [DevCommand.self, ServeCommand.self]),
            CommandGroup(
                name: "Clients",
                subcommands: [
                    TopicCommand.self, ProduceCommand.self, ConsumeCommand.self, PublishCommand.self, SubscribeCommand.self,
                    WorkCommand.self,
                ]),
            CommandGroup(name: "Access", subcommands: [UserCommand.self, AclCommand.self]),
            CommandGroup(
                name: "Tools",
                subcommands: [
                    CertsCommand.self, DoctorCommand.self, BackupCommand.self, RestoreCommand.self, VerifyCommand.self,
                    DumpCommand.self, BenchCommand.self,
                ]),
        ])
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Show the version.")

    func run() {
        Terminal.print("martlet \(Version.current)")
    }
}

/// Prints docs/configuration.md (`make docs`).
struct HelpConfigurationCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "help-configuration", abstract: "Print the reference of all settings.", shouldDisplay: false)

    func run() {
        Terminal.write(ConfigurationReference.markdown, to: 1)
    }
}

/// Prints docs/kafka-support.md without the matrix of clients (`make docs`).
struct HelpKafkaSupportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "help-kafka-support", abstract: "Print what of Kafka's protocol is served.", shouldDisplay: false)

    func run() {
        Terminal.write(KafkaReference.markdown, to: 1)
    }
}
