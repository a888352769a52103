// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: `--check`: whether a broker would start with this configuration and be of use, without starting one.
//
// Asks the doctor: there is one list of checks. Notes are left out, and as long as the configuration itself is wrong nothing
// else is looked at.

import Bytes

package enum ConfigurationCheck {
    /// What keeps a broker from starting, or must not stay, is an error; the rest are warnings.
    package static func findings(_ loader: ConfigurationLoader, clock: any Clock = SystemClock()) -> [DoctorFinding] {
        var doctor = Doctor(loader, clock: clock)
        if loader.problems.isEmpty { doctor.examine() }
        return doctor.findings.filter { $0.severity != .note }
    }

    /// What a broker that starts with this has to tell: those errors that do not keep it from starting.
    package static func errorsAtStart(_ loader: ConfigurationLoader) -> [String] {
        var doctor = Doctor(loader)
        doctor.examineSettings()
        return doctor.findings.filter { $0.severity == .error }.map(\.line)
    }

    /// What is set, and where: for a person who wonders.
    package static func summary(_ loader: ConfigurationLoader) -> String {
        let all = Settings.all + ListenerSettings.all(in: loader.configuration)
        let set = all.compactMap { setting in
            loader.origins[setting.key].map { "  \(setting.key) = \(setting.show(loader.configuration)) (\($0))" }
        }
        let head = "the configuration is good; \(set.isEmpty ? "nothing is set" : set.count == 1 ? "this is set:" : "\(set.count) settings are set:")"
        return ([head] + set).joined(separator: "\n")
    }
}
