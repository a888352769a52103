// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what no single setting can say: settings that do not go together.
//
// Each mistake names the settings, their values where these are numbers, and where they were written.

import Engine

extension ConfigurationLoader {
    mutating func check() throws(ConfigurationError) {
        try checkListeners()
        let policies = configuration.listenerPolicies
        try checkLogins(policies)
        try checkFiles(policies)
        if let advertise = configuration.advertise, advertise.isEverywhere {
            try mistake(ConfigurationError(
                "\(named("advertise", "\(advertise)")) is no address that a client could use; give the name that clients reach"
                    + " this broker by"))
        }
        try checkGroups()
        try checkShareGroups()
    }

    /// `tls.cert` (martlet.yaml:3)
    private func named(_ key: String) -> String {
        "`\(key)`" + (origins[key].map { " (\($0))" } ?? "")
    }

    /// `threads` (4, martlet.yaml:3)
    private func named(_ key: String, _ value: String) -> String {
        "`\(key)` (\(value), \(origins[key] ?? "default"))"
    }

    /// Every listener that has rules must be there, once.
    private mutating func checkListeners() throws(ConfigurationError) {
        let names = configuration.listen.compactMap(\.name)
        for (index, name) in names.enumerated() where names[..<index].contains(name) {
            try mistake(ConfigurationError("\(named("listen")) has two listeners of the name \(name); name them differently"))
        }
        for setting in ListenerSettings.all(in: configuration) where !setting.show(configuration).isEmpty {
            let name = setting.key.dropFirst(ListenerSettings.prefix.count).prefix { $0 != "." }
            guard !names.contains(where: { $0 == name }) else { continue }
            try mistake(ConfigurationError(
                "\(named(setting.key)) is for a listener that `listen` does not have; name it there: \(name)://host:port"))
        }
    }

    /// What asks everybody for a login needs a way to log in. A listener that says `none` itself is meant so.
    private mutating func checkLogins(_ policies: [ListenerPolicy]) throws(ConfigurationError) {
        for policy in policies where policy.saslRequired == .always && policy.saslMechanisms.isEmpty {
            guard policy.rules.saslMechanisms == nil || policy.rules.saslRequired != nil else { continue }
            let own = ListenerSettings.prefix + (policy.address.name ?? "") + "."
            let prefix = policy.rules == Configuration.ListenerRules() ? "" : own
            let key = policy.rules.saslRequired == nil ? "sasl.required" : prefix + "sasl.required"
            return try mistake(ConfigurationError(
                "`sasl.required: always`\(origins[key].map { " (\($0))" } ?? "") asks everybody on"
                    + " \(policy.address.name ?? "\(policy.address)") for a login, and there is no way"
                    + " to log in; set `\(prefix)sasl.enabled.mechanisms`"))
        }
    }

    private mutating func checkFiles(_ policies: [ListenerPolicy]) throws(ConfigurationError) {
        if (configuration.tls.certificate == nil) != (configuration.tls.key == nil) {
            let (given, missing) =
                configuration.tls.key == nil ? ("tls.cert", "tls.key") : ("tls.key", "tls.cert")
            try mistake(ConfigurationError("\(named(given)) is set without `\(missing)`; give both, or neither to use `certs`"))
        }
        if configuration.tls.certificate != nil, configuration.tls.authority == nil,
            policies.contains(where: { $0.clientAuthentication != .none })
        {
            try mistake(ConfigurationError(
                "`tls.ca` is not set beside \(named("tls.cert")), so no client certificate could be accepted; set it, or"
                    + " `tls.client.auth: none`"))
        }
        if let policy = policies.first(where: { $0.saslMechanisms.contains(.oauthBearer) }), configuration.tokens.keyFile == nil {
            let own = ListenerSettings.prefix + (policy.address.name ?? "") + "."
            let prefix = policy.rules.saslMechanisms == nil ? "" : own
            try mistake(ConfigurationError(
                "\(named(prefix + "sasl.enabled.mechanisms")) has OAUTHBEARER without `sasl.oauthbearer.jwks.endpoint.url`; "
                    + "say where the keys are"))
        }
    }

    /// As Kafka checks them.
    private mutating func checkGroups() throws(ConfigurationError) {
        let settings = configuration
        try order(
            "group.min.session.timeout.ms", settings.groupMinSessionTimeoutMs,
            isAtMost: "group.max.session.timeout.ms", settings.groupMaxSessionTimeoutMs)
        try order(
            "group.consumer.min.session.timeout.ms", settings.groupConsumerMinSessionTimeoutMs,
            isAtMost: "group.consumer.session.timeout.ms", settings.groupConsumerSessionTimeoutMs)
        try order(
            "group.consumer.min.heartbeat.interval.ms", settings.groupConsumerMinHeartbeatIntervalMs,
            isAtMost: "group.consumer.heartbeat.interval.ms", settings.groupConsumerHeartbeatIntervalMs)
        try order(
            "group.consumer.heartbeat.interval.ms", settings.groupConsumerHeartbeatIntervalMs,
            isBelow: "group.consumer.session.timeout.ms", settings.groupConsumerSessionTimeoutMs)
    }

    private mutating func checkShareGroups() throws(ConfigurationError) {
        let shares = configuration.shareGroups
        try order(
            "group.share.min.record.lock.duration.ms", shares.minRecordLockDurationMs,
            isAtMost: "group.share.record.lock.duration.ms", shares.recordLockDurationMs)
        try order(
            "group.share.record.lock.duration.ms", shares.recordLockDurationMs,
            isAtMost: "group.share.max.record.lock.duration.ms", shares.maxRecordLockDurationMs)
        try order(
            "group.share.heartbeat.interval.ms", Int64(shares.heartbeatIntervalMs),
            isBelow: "group.share.session.timeout.ms", shares.sessionTimeoutMs)
    }

    private mutating func order<Number: FixedWidthInteger>(
        _ lower: String, _ low: Number, isAtMost upper: String, _ high: Number
    ) throws(ConfigurationError) {
        guard low > high else { return }
        try mistake(ConfigurationError(
            "\(named(lower, "\(low)")) is above \(named(upper, "\(high)")); lower the one or raise the other"))
    }

    private mutating func order<Number: FixedWidthInteger>(
        _ lower: String, _ low: Number, isBelow upper: String, _ high: Number
    ) throws(ConfigurationError) {
        guard low >= high else { return }
        try mistake(ConfigurationError(
            "\(named(lower, "\(low)")) is not below \(named(upper, "\(high)")); lower the one or raise the other"))
    }
}
