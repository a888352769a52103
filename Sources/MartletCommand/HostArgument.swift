// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `--host` of an access rule.

import ArgumentParser
import Engine
import NIOCore

/// One address as the broker sees clients, or `*`. Kafka's rules know no ranges and no names: what is neither would be a
/// rule that is never about anybody.
struct HostArgument: ExpressibleByArgument {
    var text: String

    init?(argument: String) {
        if argument == AccessRule.wildcard {
            text = argument
        } else if let address = try? SocketAddress(ipAddress: argument, port: 0), let name = address.ipAddress {
            text = name
        } else {
            return nil
        }
    }

    static let everywhere = HostArgument(text: AccessRule.wildcard)

    private init(text: String) { self.text = text }

    var defaultValueDescription: String { text }
}
