// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet topic`: create, list, describe, delete.

import ArgumentParser
import Client

struct TopicCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topic", abstract: "Create, list, describe and delete topics.",
        subcommands: [Create.self, List.self, Describe.self, Delete.self], defaultSubcommand: List.self)

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Create a topic.")

        @Argument(help: "The topic's name.")
        var name: String

        @Option(help: "How many partitions; the broker's num.partitions if not given.")
        var partitions: Int32?

        @Option(name: .customLong("config"), help: "A topic configuration, key=value; may be repeated.")
        var configurations: [String] = []

        @Flag(help: "A topic of this name may exist already.")
        var ifNotExists = false

        @OptionGroup(title: "Connection") var client: ClientArguments

        func validate() throws {
            guard partitions ?? 1 > 0 else { throw ValidationError("--partitions must be 1 or more") }
            for configuration in configurations where !configuration.contains("=" as Character) {
                throw ValidationError("--config is written key=value, not `\(configuration)`")
            }
        }

        func run() throws {
            let pairs = configurations.map { text in
                let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                return (name: String(parts[0]), value: String(parts[1]))
            }
            try TopicAdministration(client.options()).create(
                name, partitions: partitions, configuration: pairs, mayExist: ifNotExists)
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List topics with their number of partitions.")

        @Flag(name: .customLong("internal"), help: "List the broker's own topics too.")
        var includesInternal = false

        @OptionGroup(title: "Connection") var client: ClientArguments

        func run() throws {
            let topics = try TopicAdministration(client.options()).list(includesInternal: includesInternal)
            for topic in topics { Terminal.print("\(topic.name)\t\(topic.partitions)") }
        }
    }

    struct Describe: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a topic's id, its configuration and the offsets of its partitions.")

        @Argument(help: "Names of topics.")
        var names: [String]

        @OptionGroup(title: "Connection") var client: ClientArguments

        func run() throws {
            let administration = try TopicAdministration(client.options())
            for name in names {
                let topic = try administration.describe(name)
                Terminal.print("topic\t\(topic.name)\nid\t\(topic.id)")
                for setting in topic.configuration { Terminal.print("config\t\(setting.name)=\(setting.value)") }
                for partition in topic.partitions {
                    Terminal.print("partition\t\(partition.index)\t\(partition.earliest)..<\(partition.latest)")
                }
            }
        }
    }

    struct Delete: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete topics and all their records.")

        @Argument(help: "Names of topics.")
        var names: [String]

        @Flag(help: "A topic may be missing.")
        var ifExists = false

        @OptionGroup(title: "Connection") var client: ClientArguments

        func run() throws {
            let administration = try TopicAdministration(client.options())
            for name in names { try administration.delete(name, mayBeMissing: ifExists) }
        }
    }
}
