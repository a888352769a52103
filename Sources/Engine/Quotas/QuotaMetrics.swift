// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how often and for how long clients were throttled, by quota.

import Telemetry

struct QuotaMetrics: Sendable {
    private let throttles: [QuotaKey: Histogram]

    init(_ metrics: Metrics) {
        let family = metrics.histograms(
            "martlet_quota_throttle_seconds", "How long clients were told or made to wait, by quota.", labels: ["quota"])
        throttles = Dictionary(uniqueKeysWithValues: QuotaKey.allCases.map { ($0, family.with($0.rawValue)) })
    }

    func throttled(_ key: QuotaKey, ms: Int) {
        throttles[key]?.observe(ms * 1_000_000)
    }
}
