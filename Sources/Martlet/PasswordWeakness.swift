// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what is wrong with a password, for `martlet doctor` and `martlet user add` alike.

/// Why somebody would guess a password.
package enum PasswordWeakness: Equatable, Sendable, CustomStringConvertible {
    case known
    case short

    private static let lengthMin = 12
    private static let differentMin = 5
    /// What is tried first, in lower case.
    private static let tried: Set<String> = [
        "password", "passw0rd", "password1", "changeit", "changeme", "change-me", "admin", "admin-secret", "administrator",
        "secret", "kafka", "martlet", "confluent", "123456", "12345678", "123456789", "1234567890", "123456789012", "qwerty",
        "qwertyuiop", "letmein", "welcome", "iloveyou", "test", "guest", "root", "default", "passwordpassword",
    ]

    /// nil: nothing is wrong with it. `user`: whose it is, if that is known.
    package init?(of password: String, user: String? = nil) {
        let lower = password.lowercased()
        if lower.isEmpty || Self.tried.contains(lower) || lower == user?.lowercased() {
            self = .known
        } else if password.count < Self.lengthMin || Set(password).count < Self.differentMin {
            self = .short
        } else {
            return nil
        }
    }

    /// The doctor's name for it.
    package var id: String {
        switch self {
        case .known: "default-password"
        case .short: "weak-password"
        }
    }

    package var description: String {
        switch self {
        case .known: "empty, the user's name, or one that everybody tries first"
        case .short: "shorter than \(Self.lengthMin) letters, or of less than \(Self.differentMin) different ones"
        }
    }

    package static let advice = "24 random letters: openssl rand -base64 18"
}
