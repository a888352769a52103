// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the table of settings, for people.
//
// docs/configuration.md is this text; a test compares them.

package enum ConfigurationReference {
    /// Lines for `--help`: flag, form, what it means, and the default if there is one.
    package static func help(defaults: Configuration) -> String {
        let heads = Settings.all.map { $0.isSwitch ? "\($0.flag) [true|false]" : "\($0.flag) <\($0.form)>" }
        var text = ""
        for (setting, head) in zip(Settings.all, heads) {
            let value = setting.show(defaults)
            let note = value.isEmpty || setting.isSwitch && value == "false" ? "" : " (default: \(value))"
            let lines = wrapped(setting.help + note, width: 68).map { "          \($0)\n" }
            text += "  \(head)\n" + lines.joined()
        }
        text += """
              --listener-name-<name>-<setting> <value>
                      On the listener that `listen` names <name>: plaintext,
                      tls-client-auth, sasl-enabled-mechanisms or sasl-required.

            """
        return text
    }

    /// The words in lines of at most `width` characters.
    private static func wrapped(_ text: String, width: Int) -> [String] {
        var lines = [""]
        for word in text.split(separator: " ") {
            let line = lines[lines.count - 1]
            if line.isEmpty {
                lines[lines.count - 1] = String(word)
            } else if line.count + 1 + word.count <= width {
                lines[lines.count - 1] = line + " " + word
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }

    /// docs/configuration.md.
    package static var markdown: String {
        var text = """
            # Configuration

            Printed from the table of settings in `Sources/Martlet/Settings.swift` by `martlet help-configuration`;
            a test fails when the two differ.

            A flag beats a variable, a variable beats the file, the file beats the default. The three names of a
            setting follow from its key: `log.retention.ms` is the flag `--log-retention-ms` and the variable
            `MARTLET_LOG_RETENTION_MS`. The file is given by `--config` or `MARTLET_CONFIG`; in it, keys may be nested or written
            with dots, and lists may be written as YAML lists:

            ```yaml
            listen: [0.0.0.0:9092, "[::1]:9092"]
            data: /var/lib/martlet/data
            log:
              retention.ms: 86400000
            ```

            `martlet dev` and `martlet serve` differ only in these defaults. Settings that Kafka has too carry Kafka's name;
            the topic configurations named after "Per topic" can be changed while the broker runs. Those marked ↻ are read again
            on SIGHUP; the others need a restart, and the log says which of them have changed. The files that `tls.cert`, `tls.key`,
            `tls.ca`, `ssl.crl.location`, `sasl.oauthbearer.jwks.endpoint.url`, `authorizer.opa.tls.ca` and `authorizer.opa.token.file`
            name are watched, and used when their content changes; to name another file needs a restart.

            | key | values | default of `dev` | default of `serve` | meaning |
            |---|---|---|---|---|

            """
        let development = Configuration.development, production = Configuration.production
        for setting in Settings.all {
            let form = setting.form.replacing("|", with: ", ")
            text += "| `\(setting.key)` | \(form) | \(setting.show(development)) | \(setting.show(production)) "
                + "| \(setting.help)\(setting.isReloadable ? " ↻" : "") |\n"
        }
        return text + listeners
    }

    private static var listeners: String {
        var text = """

            ## Listeners with rules of their own

            A name in `listen` lets a listener have some settings of its own, under the prefix `listener.name.` and that name, as in
            Kafka; what it has not is as for all. Names are letters and digits, in keys in lower case. Flags and variables follow:
            `--listener-name-team-tls-client-auth`, `MARTLET_LISTENER_NAME_TEAM_TLS_CLIENT_AUTH`.

            ```yaml
            listen: [apps://0.0.0.0:9092, team://0.0.0.0:9093]
            listener.name:
              apps:
                tls.client.auth: required
              team:
                tls.client.auth: none
                sasl.enabled.mechanisms: SCRAM-SHA-256
            ```

            | key | values | default |
            |---|---|---|

            """
        for setting in ListenerSettings.all(of: "name") {
            let form = setting.form.replacing("|", with: ", ")
            let common = setting.key.dropFirst("listener.name.name.".count)
            text += "| `listener.name.<name>.\(common)` | \(form) | as `\(common)` |\n"
        }
        return text
    }
}
