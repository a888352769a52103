// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: the environment of the process.

import Glibc

enum Environment {
    /// All variables of the process.
    static var variables: [(name: String, value: String)] {
        var variables: [(name: String, value: String)] = []
        // SAFETY: `environ` ends with nil and each entry is a C string; nothing changes the environment in this process.
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            let parts = unsafe String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { variables.append((String(parts[0]), String(parts[1]))) }
            unsafe entry += 1
        }
        return variables
    }
}
