// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: docs/kafka-support.md, from the tables that the broker itself follows.
//
// `make docs` prints it and appends the matrix of clients that the interoperability tests keep; a test fails when the page
// says something else.

import Engine
import KafkaWire

package enum SupportReference {
    package static var markdown: String {
        [head, apis, notServed, topicKeys, groupKeys, clientMetricsKeys, brokerKeys, differences].joined(separator: "\n")
    }

    private static let head = """
        # What works for Kafka clients

        Printed from the broker's own tables by `martlet help-kafka-support`; a test fails when the two differ.

        The measure is an Apache Kafka 4.0 single node: same calls, same versions, same error codes. What is not in the table below is
        not advertised; a client that sends it anyway has its connection closed, and the log names the API.

        """

    private static var apis: String {
        var text = """
            ## APIs

            | key | API | versions | advertised | notes |
            |---|---|---|---|---|

            """
        for entry in ApiTable.served {
            let advertised = entry.advertised == entry.served ? "" : range(entry.advertised)
            text += "| \(entry.key.rawValue) | \(entry.name) | \(range(entry.served)) | \(advertised) | \(ApiTable.note(entry.key)) |\n"
        }
        return text
    }

    private static func range(_ versions: ClosedRange<Int16>) -> String {
        versions.count == 1 ? "\(versions.lowerBound)" : "\(versions.lowerBound)-\(versions.upperBound)"
    }

    private static var notServed: String {
        let names = ApiTable.entries.filter { !$0.isServed }.map(\.name).joined(separator: ", ")
        let rest = """
            Never: what brokers say to each other (keys 4 to 7, 52 to 54, 56, 58, 59, 62, 63, 67, 70, 73, 82) and delegation tokens
            (38 to 41).

            """
        return "## Not served\n\n" + (names.isEmpty ? "" : "Not yet: \(names).\n\n") + rest
    }

    private static var topicKeys: String {
        var text = """
            ## Topic configuration

            The broker's name of a key is what all topics get that have no value of their own. It can be set for the broker (its
            node id) or for all brokers (the empty name) while the broker runs, and is in force at once: the broker's value wins over
            that for all brokers, that over the one it was started with.

            | key | broker's name | type | default | meaning |
            |---|---|---|---|---|

            """
        for key in TopicConfigurationKey.all.sorted(by: { $0.name < $1.name }) {
            text += "| \(key.name) | \(key.brokerName) | \(key.kind.rawValue) | \(key.defaultValue) | \(key.documentation) |\n"
        }
        return text + "\nAny other key is refused with INVALID_CONFIG and its name.\n"
    }

    private static var groupKeys: String {
        "## Group configuration\n\n" + table(GroupConfigurationKeys.all)
            + "\nTheir bounds are the broker's `group.consumer.min.*` and `group.consumer.max.*`.\n"
    }

    private static var clientMetricsKeys: String {
        """
        ## Client metrics configuration

        Subscriptions by name (KIP-714): what clients are asked to push. What they push is checked and counted.


        """ + table(ClientMetricsKeys.all)
    }

    private static func table(_ keys: [ConfigurationKey]) -> String {
        var text = "| key | type | default | meaning |\n|---|---|---|---|\n"
        for key in keys {
            text += "| \(key.name) | \(key.kind.rawValue) | \(key.defaultValue(GroupConfiguration(), ShareConfiguration())) | \(key.documentation) |\n"
        }
        return text
    }

    private static var brokerKeys: String {
        var text = """
            ## Broker configuration

            Beside the broker's names of topic keys, DescribeConfigs tells these, read-only. What of them can be set, at start, is in
            [configuration](configuration.md).

            | key | type | default | meaning |
            |---|---|---|---|

            """
        for setting in BrokerSetting.all.sorted(by: { $0.name < $1.name }) {
            text += "| \(setting.name) | \(setting.kind.rawValue) | \(setting.defaultValue ?? "") | \(setting.documentation) |\n"
        }
        return text
    }

    private static let differences = """
        ## Where Martlet differs from Kafka on purpose

        - The first Metadata request for a missing topic waits for its creation and answers with the topic; Kafka answers
          LEADER_NOT_AVAILABLE and lets the client ask again.
        - `acks=all` waits for stable storage (fdatasync), not for replicas. See [security](security.md) for who may connect and
          [storage](storage-format.md) for what is on disk.
        - Requests of one connection run at once, not one after the other; replies keep the order of the requests.
        - The broker's own topics (`__consumer_offsets`, `__transaction_state`) are made by the broker alone, have one partition, and
          cannot be changed or deleted by clients.
        - A configuration key that would have no effect is refused by name; Kafka stores it.
        - In a share group, a member that lets the locks of its records run out without a word gets no more while others take
          them, so that one stuck worker does not use up every record's attempts. Delivery counts survive a clean stop.

        As with Kafka from 3.7.2 on (CVE-2024-56128), SCRAM needs a client that sends the broker's nonce back as it came: librdkafka
        2.6.1 or newer. The one of Debian 12's kcat is older; use PLAIN over TLS or a certificate with it.

        """
}
