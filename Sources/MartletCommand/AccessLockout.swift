// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: whether whoever adds access rules could still change them afterwards.
//
// The first rule closes a broker that was open to everybody, also to whoever adds it. Kafka's protocol tells nobody who
// he is, so the caller is worked out here from the flags and from what the broker says of its settings; where it does not
// say (Kafka keeps super.users to itself), nothing is judged.

import Client
import Engine
import Glibc
import Martlet
import Telemetry
import Transport

struct AccessLockout {
    private let caller: String
    private let existing: [AccessRule]
    private let superUsers: [Substring]
    private let isFreeWithoutRule: Bool

    /// nil if too little is known.
    init?(_ client: ClientArguments, _ administration: AccessAdministration) throws {
        // Whoever may not see rules or settings may not add rules either, and hears that then.
        guard let rules = try? administration.list(about: []),
            let settings = try? administration.brokerSettings(),
            // Where an external policy decides, no rule lets anybody in.
            settings[AccessAdministration.policySetting] == nil,
            let superUsers = settings["super.users"],
            let isShown = try? administration.showsCertificate(),
            let caller = Self.caller(client, settings, isCertificateShown: isShown)
        else { return nil }
        self.caller = caller
        existing = rules
        self.superUsers = superUsers.split(separator: ";")
        isFreeWithoutRule = settings["allow.everyone.if.no.acl.found"] == "true"
    }

    private static func caller(
        _ client: ClientArguments, _ settings: [String: String], isCertificateShown: Bool
    ) -> String? {
        if let user = client.user { return "User:\(user)" }
        // A listener may not ask for the certificate that the caller has.
        guard let file = client.cert, isCertificateShown else { return "User:ANONYMOUS" }
        let sources = settings["ssl.principal.source", default: "subject"].split(separator: ",")
        guard let certificate = try? CertificateFile.summary(file),
            let mapping = try? PrincipalMapping(
                sources: sources.compactMap { CertificateNameKind(rawValue: String($0)) },
                rules: settings["ssl.principal.mapping.rules", default: "DEFAULT"])
        else { return nil }
        return try? mapping.principal(of: certificate.names)
    }

    /// Throws if nobody at all could change rules afterwards; warns if the caller could not.
    func judge(_ added: [AccessRule]) throws(CommandError) {
        guard !superUsers.contains(where: { $0 == caller }) else { return }
        let after = AccessRules(Set(existing + added))
        // From where the broker sees the caller is not known here: only rules for everywhere count.
        let decision = after.decide(caller, host: "", .alter, .cluster, AccessRule.clusterName)
        if decision.isAllowed { return }
        let speaks = after.all.contains { $0.resource == .cluster }
        if isFreeWithoutRule, !speaks { return }
        let you = "you (\(caller)) may not change access rules"
        let isAnybodyLeft = !superUsers.isEmpty || after.all.contains {
            $0.permission == .allow && $0.resource == .cluster && ($0.operation == .alter || $0.operation == .all)
        }
        guard isAnybodyLeft else {
            throw CommandError(
                "with \(added.count == 1 ? "this rule" : "these rules") \(you), nor may anybody else, so nobody could take it back; "
                    + "first let an administrator in with `martlet acl add NAME all --cluster --topic '*' --group '*'`, or set super.users "
                    + "(--anyway adds it all the same)")
        }
        Terminal.write("warning: from now on \(JSONText.escaped(you)); super.users and those with Alter on the cluster may\n", to: STDERR_FILENO)
    }
}
