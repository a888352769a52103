// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: how much CPU a process has used, from /proc (proc(5)).

import Glibc

/// CPU time of a process, user and system.
package enum ProcessTime {
    /// Seconds that process `pid` has used; nil if there is no such process or /proc is not there.
    package static func seconds(pid: Int32) -> Double? {
        guard let text = contents("/proc/\(pid)/stat") else { return nil }
        return seconds(stat: text, ticksPerSecond: Double(sysconf(CInt(_SC_CLK_TCK))))
    }

    /// Seconds that this process has used.
    package static func ownSeconds() -> Double {
        var usage = rusage()
        // SAFETY: `usage` is a live local for the duration of the call.
        guard unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    /// Reads fields 14 and 15. The second field is the command in parentheses, which may hold
    /// anything.
    static func seconds(stat text: String, ticksPerSecond: Double) -> Double? {
        guard let close = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12])
        else {
            return nil
        }
        return (user + system) / ticksPerSecond
    }

    private static func contents(_ path: String) -> String? {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        // SAFETY: at most `bytes.count` bytes are written into `bytes`, during the call.
        let count = unsafe bytes.withUnsafeMutableBytes {
            unsafe read(file, $0.baseAddress, $0.count)
        }
        guard count > 0 else { return nil }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
