// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: the environment of the process.

import Glibc

enum Environment {
    /// A path that means the same to a process in another directory.
    static func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/") else { return path }
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        // SAFETY: the buffer is live and its size is passed.
        guard unsafe getcwd(&buffer, buffer.count) != nil else { return path }
        let current = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return (current == "/" ? "" : current) + "/" + (path.hasPrefix("./") ? String(path.dropFirst(2)) : path)
    }

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
