// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: who may have how many of the process's file descriptors.
//
// A connection takes one, an open log file another. Together they stay below what the system allows, so that running
// out is a refusal that names its limit and not a failed call somewhere. A plain value, worked out once at start.

import Glibc

/// How many descriptors connections and log files may have.
package struct DescriptorShares: Equatable, Sendable {
    /// For event loops, listeners, certificates, index files that are open for a moment, and whatever else comes and goes.
    static let reserve = 128
    /// More open files than this bring nothing.
    static let filesMax = 20_000
    /// So many are good enough where connections want the rest.
    static let filesEnough = 2048
    /// Fewer than this would be opened and closed all the time.
    static let filesMin = 16

    /// Connections, of all listeners together.
    package var connections: Int
    /// Log files that are kept open.
    package var files: Int

    /// `allowed` is how many descriptors the process may have.
    package init(_ configuration: Configuration, allowed: Int = Self.allowed) {
        let usable = max(2 * Self.filesMin, allowed - Self.reserve)
        let wanted = configuration.maxOpenFiles
        // Where there is little, each gets half; files that need not be open at once yield to connections.
        let filesAtLeast = min(wanted > 0 ? wanted : Self.filesEnough, usable / 2)
        connections = min(configuration.maxConnections, usable - filesAtLeast)
        let left = max(Self.filesMin, usable - connections)
        files = min(wanted > 0 ? wanted : Self.filesMax, left)
    }

    /// What to tell whoever configured more than there is; nil if everything fits.
    func warning(_ configuration: Configuration) -> String? {
        let connectionsMissing = connections < configuration.maxConnections
        guard connectionsMissing || files < configuration.maxOpenFiles else { return nil }
        return "the system allows this process \(Self.allowed) open files: \(connections) connections are accepted and"
            + " \(files) log files kept open; raise the limit (ulimit -n, LimitNOFILE=) for more"
    }

    /// How many descriptors the process may have.
    package static var allowed: Int {
        var limit = rlimit()
        // SAFETY: `limit` is a live local for the duration of the call.
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        return Int(clamping: limit.rlim_cur)
    }

    /// Lets the process have as many descriptors as it may. For a process that is a broker, not for one that has one.
    package static func raiseLimit() {
        var limit = rlimit()
        // SAFETY: `limit` is a live local for the duration of both calls.
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        // Failing leaves the limit as it was.
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
