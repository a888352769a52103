// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what the operating system knows about this process, under Prometheus' usual names.

import Glibc
import Telemetry

enum ProcessMetrics {
    static func register(_ metrics: Metrics, startMs: Int64) {
        metrics.observe("process_start_time_seconds", "When the process was started, since the Unix epoch.") {
            Double(startMs) / 1000
        }
        metrics.observe(
            "process_cpu_seconds_total", "User and system CPU time.", kind: .counter) { cpuSeconds() }
        metrics.observe("process_resident_memory_bytes", "Resident memory.") { residentBytes() }
        metrics.observe("process_open_fds", "Open file descriptors.", labels: []) {
            openDescriptors().map { [Sample(Double($0))] } ?? []
        }
        metrics.observe("process_max_fds", "Most file descriptors that can be open.") { Double(DescriptorShares.allowed) }
    }

    private static func cpuSeconds() -> Double {
        var usage = rusage()
        // SAFETY: `usage` is a live local for the duration of the call.
        guard unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
        let seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
        let microseconds = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec
        return Double(seconds) + Double(microseconds) / 1e6
    }

    /// The second number of /proc/self/statm, in pages.
    private static func residentBytes() -> Double {
        guard let bytes = try? TextFile.read("/proc/self/statm", bytesMax: 256) else { return 0 }
        let fields = bytes.split(separator: UInt8(ascii: " "))
        guard fields.count > 1, let pages = Int(String(decoding: fields[1], as: UTF8.self)) else { return 0 }
        return Double(pages * sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func openDescriptors() -> Int? {
        // SAFETY: the directory stream is used by this function only and closed before it returns.
        guard let directory = unsafe opendir("/proc/self/fd") else { return nil }
        defer { unsafe closedir(directory) }
        var count = 0
        while unsafe readdir(directory) != nil { count += 1 }
        return max(0, count - 3)  // `.`, `..` and the stream itself
    }
}
