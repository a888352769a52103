// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what differs between two configurations, and what of it a running broker can take.

struct ConfigurationChange: Equatable {
    /// In force now: `log.level: info -> debug`.
    private(set) var applied: [String] = []
    /// Keys whose new values need a restart.
    private(set) var needsRestart: [String] = []

    /// Gives `running` what of `wanted` can change while a broker runs.
    init(_ running: inout Configuration, wanted: Configuration) throws(ConfigurationError) {
        for setting in Settings.all + ListenerSettings.all(in: running, wanted) {
            let (old, new) = (setting.show(running), setting.show(wanted))
            guard old != new else { continue }
            guard setting.isReloadable else {
                needsRestart.append(setting.key)
                continue
            }
            try setting.copy(from: wanted, to: &running)
            applied.append("\(setting.key): \(old) -> \(new)")
        }
    }

    func changed(_ key: String) -> Bool { applied.contains { $0.hasPrefix(key + ":") } }
}
