// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: the outcome of a load run, for people and for programs.

/// What a load run measured.
package struct LoadReport: Sendable {
    package var mode: LoadMode
    package var requests = 0
    package var records = 0
    package var bytes = 0
    package var refusals = 0
    package var firstRefusal: String?
    package var gaps = 0
    package var seconds = 0.0
    package var latencies = LatencyHistogram()
    package var clientCPUSeconds = 0.0
    package var serverCPUSeconds: Double?

    package init(mode: LoadMode) {
        self.mode = mode
    }

    package var recordsPerSecond: Double { seconds > 0 ? Double(records) / seconds : 0 }
    package var requestsPerSecond: Double { seconds > 0 ? Double(requests) / seconds : 0 }
    /// MB are 1,000,000 bytes.
    package var megabytesPerSecond: Double { seconds > 0 ? Double(bytes) / seconds / 1e6 : 0 }

    private static let shares: [(name: String, share: Double)] = [
        ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999),
    ]

    /// What the unit of work is called.
    private var unit: String { mode == .subscribe || mode == .work ? "messages" : "requests" }

    /// Several lines for a person.
    package var text: String {
        var lines: [String] = []
        lines.append(
            """
            \(mode.rawValue): \(Self.grouped(recordsPerSecond)) records/s, \
            \(Self.decimal(megabytesPerSecond, 1)) MB/s, \
            \(Self.grouped(requestsPerSecond)) \(unit)/s
            """)
        lines.append(
            """
            \(records) records, \(bytes) bytes, \(requests) \(unit) in \
            \(Self.decimal(seconds, 2)) s
            """)
        if latencies.count > 0 {
            var parts = Self.shares.map { name, share in
                "\(name) \(Self.microseconds(latencies.percentile(share)))"
            }
            parts.append("max \(Self.microseconds(latencies.max))")
            lines.append("latency: " + parts.joined(separator: ", "))
        }
        var cpu = "client CPU: \(perRequest(clientCPUSeconds))"
        if let serverCPUSeconds { cpu += "; server CPU: \(perRequest(serverCPUSeconds))" }
        lines.append(cpu)
        if gaps > 0 { lines.append("offsets left out between records: \(gaps)") }
        if refusals > 0 {
            lines.append("REFUSED: \(refusals) \(unit); the first: \(firstRefusal ?? "unknown")")
        }
        return lines.joined(separator: "\n")
    }

    /// One JSON object.
    package var json: String {
        var fields: [(String, String)] = [
            ("mode", "\"\(mode.rawValue)\""), ("seconds", Self.decimal(seconds, 6)),
            ("requests", "\(requests)"), ("records", "\(records)"), ("bytes", "\(bytes)"),
            ("records_per_second", Self.decimal(recordsPerSecond, 1)),
            ("requests_per_second", Self.decimal(requestsPerSecond, 1)),
            ("megabytes_per_second", Self.decimal(megabytesPerSecond, 3)),
            ("refused", "\(refusals)"), ("gaps", "\(gaps)"),
        ]
        if latencies.count > 0 {
            var parts = Self.shares.map { name, share in
                "\"\(name)\":\(Self.decimal(Double(latencies.percentile(share)) / 1e3, 1))"
            }
            parts.append("\"max\":\(Self.decimal(Double(latencies.max) / 1e3, 1))")
            parts.append("\"mean\":\(Self.decimal(latencies.mean / 1e3, 1))")
            fields.append(("latency_us", "{" + parts.joined(separator: ",") + "}"))
        }
        fields.append(("client_cpu_seconds", Self.decimal(clientCPUSeconds, 3)))
        if let serverCPUSeconds {
            fields.append(("server_cpu_seconds", Self.decimal(serverCPUSeconds, 3)))
            let each = requests > 0 ? serverCPUSeconds / Double(requests) * 1e6 : 0
            fields.append(("server_cpu_us_per_request", Self.decimal(each, 3)))
            let record = records > 0 ? serverCPUSeconds / Double(records) * 1e6 : 0
            fields.append(("server_cpu_us_per_record", Self.decimal(record, 3)))
        }
        return "{" + fields.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
    }

    private func perRequest(_ cpu: Double) -> String {
        let each = requests > 0 ? cpu / Double(requests) * 1e6 : 0
        return "\(Self.decimal(cpu, 2)) s, \(Self.decimal(each, 2)) us per request"
    }

    private static func microseconds(_ ns: UInt64) -> String {
        ns < 10_000_000 ? "\(ns / 1000) us" : "\(decimal(Double(ns) / 1e6, 1)) ms"
    }

    /// A number with so many decimals.
    static func decimal(_ value: Double, _ places: Int) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "0" }
        let scale = (0..<places).reduce(1) { scale, _ in scale * 10 }
        let scaled = Int((abs(value) * Double(scale)).rounded())
        let sign = value < 0 && scaled > 0 ? "-" : ""
        guard places > 0 else { return "\(sign)\(scaled)" }
        let digits = String(scaled % scale)
        let zeros = String(repeating: "0", count: places - digits.utf8.count)
        return "\(sign)\(scaled / scale).\(zeros)\(digits)"
    }

    /// A whole number with commas.
    static func grouped(_ value: Double) -> String {
        let digits = Array(decimal(value, 0))
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0 && (digits.count - index) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return text
    }
}
