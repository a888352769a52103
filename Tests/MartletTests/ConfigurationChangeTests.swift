// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: what of a new configuration a running broker takes.

import Logging
import Testing

@testable import Martlet

@Suite struct ConfigurationChangeTests {
    @Test func `Every setting that can be reloaded is one, and has its effect by name`() {
        for key in Settings.reloadable { #expect(Settings.named(key) != nil, "\(key)") }
    }

    @Test func `What can change is taken over, what cannot stays and is named again the next time`() throws {
        var running = Configuration.production
        var wanted = running
        wanted.logLevel = .debug
        wanted.topicDefaults.retentionMs = 5
        wanted.threads = 7
        for round in 0..<2 {
            let change = try ConfigurationChange(&running, wanted: wanted)
            #expect(change.needsRestart == ["threads"])
            #expect(change.applied == (round == 0 ? ["log.retention.ms: 604800000 -> 5", "log.level: info -> debug"] : []))
            #expect(change.changed("log.level") == (round == 0))
        }
        #expect(running.logLevel == .debug && running.topicDefaults.retentionMs == 5 && running.threads == 0)
    }
}
