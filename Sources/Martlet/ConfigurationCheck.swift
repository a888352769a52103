// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: `--check`: whether a broker would start with this configuration, without starting one.
//
// Every mistake, not the first alone; and the certificate files that it names are read. What could be better is the
// doctor's to say.

import Transport

package enum ConfigurationCheck {
    /// One line each; none if all is well.
    package static func problems(_ loader: ConfigurationLoader) -> [String] {
        var problems = loader.problems.map(\.description)
        let files = loader.configuration.tls
        if files.certificate != nil, files.key != nil {
            do throws(TransportError) {
                _ = try TLSContext.server(
                    TLSOptions(authorityFile: files.authority, certificateFile: files.certificate, keyFile: files.key))
            } catch {
                problems.append(error.message)
            }
        }
        return problems
    }

    /// What is set, and where: for a person who wonders.
    package static func summary(_ loader: ConfigurationLoader) -> String {
        let all = Settings.all + ListenerSettings.all(in: loader.configuration)
        let set = all.compactMap { setting in
            loader.origins[setting.key].map { "  \(setting.key) = \(setting.show(loader.configuration)) (\($0))" }
        }
        let head = "the configuration is good; \(set.isEmpty ? "nothing is set" : "\(set.count) settings are set:")"
        return ([head] + set).joined(separator: "\n")
    }
}
