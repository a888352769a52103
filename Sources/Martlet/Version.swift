// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: which Martlet this is.

public enum Version {
    /// Semantic version of the product; CHANGELOG.md says what it brought.
    public static let current = "0.1.0"
}
