// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: what a load run counts, and how it reports.

import NIOCore
import NIOEmbedded
import Testing

@testable import Client

@Suite struct LatencyHistogramTests {
    @Test func smallDurationsAreExact() {
        var histogram = LatencyHistogram()
        for ns in 1...100 { histogram.record(UInt64(ns)) }
        #expect(histogram.percentile(0.5) == 50)
        #expect(histogram.percentile(0.99) == 99)
        #expect(histogram.percentile(1) == 100)
        #expect(histogram.mean == 50.5)
        #expect(histogram.max == 100)
    }

    @Test(arguments: (0..<41).map { UInt64(1) << UInt64($0) })
    func anyDurationIsToldWithinAPercent(_ power: UInt64) {
        for ns in [power, power + power / 3, power * 2 - 1] {
            var histogram = LatencyHistogram()
            histogram.record(ns)
            histogram.record(1 << 41)
            let found = histogram.percentile(0.5)
            #expect(found >= ns && Double(found) <= Double(ns) * 1.008 + 1)
        }
    }

    @Test func endlessDurationsAndNothingAtAllAreNoTrap() {
        var histogram = LatencyHistogram()
        #expect(histogram.percentile(0.5) == 0)
        #expect(histogram.mean == 0)
        histogram.record(.max)
        histogram.record(0)
        #expect(histogram.max == .max)
        #expect(histogram.percentile(0.5) == 0)
        #expect(histogram.percentile(1) >= 1 << 40)
    }

    @Test func mergingCountsBoth() {
        var one = LatencyHistogram()
        var two = LatencyHistogram()
        for ns: UInt64 in [10, 20, 30] { one.record(ns) }
        for ns: UInt64 in [40, 50, 5000] { two.record(ns) }
        one.merge(two)
        #expect(one.count == 6)
        #expect(one.max == 5000)
        #expect(one.percentile(0.5) == 30)
    }
}

@Suite struct LoadRecorderTests {
    private let loop = EmbeddedEventLoop()

    private func recorder(_ records: Int) -> (LoadRecorder, EventLoopFuture<LoadCounts>) {
        let promise = loop.makePromise(of: LoadCounts.self)
        let recorder = LoadRecorder(records: records, progress: LoadProgress(), finished: promise)
        return (recorder, promise.futureResult)
    }

    @Test func aRunByRecordsEndsWhenTheLastAnswerIsIn() throws {
        let (recorder, finished) = recorder(3)
        recorder.start()
        for _ in 0..<3 {
            #expect(recorder.mayGoOn)
            recorder.began(records: 1)
        }
        #expect(!recorder.mayGoOn)
        for ns: UInt64 in 1...3 { recorder.ended(records: 1, bytes: 10, startedNs: 0, nowNs: ns) }
        let counts = try finished.wait()
        #expect(counts.records == 3)
        #expect(counts.bytes == 30)
        #expect(counts.endNs >= 3)
    }

    @Test func answersAfterTheEndOfARunByTimeAreAwaitedButNotCounted() throws {
        let (recorder, finished) = recorder(.max)
        recorder.start()
        recorder.began(records: 1)
        recorder.began(records: 1)
        recorder.ended(records: 1, bytes: 10, startedNs: 0, nowNs: 5)
        recorder.stop()
        recorder.ended(records: 1, bytes: 10, startedNs: 0, nowNs: 6)
        #expect(try finished.wait().records == 1)
    }

    @Test func whatWasCountedDuringTheWarmUpIsForgotten() throws {
        let (recorder, finished) = recorder(.max)
        recorder.start()
        recorder.began()
        recorder.ended(records: 7, bytes: 70, startedNs: 0, nowNs: 5)
        recorder.restartCounting()
        recorder.began()
        recorder.ended(records: 2, bytes: 20, startedNs: 0, nowNs: 5)
        recorder.stop()
        #expect(try finished.wait().records == 2)
    }

    @Test func recordsThatArriveInAnswersUseUpTheShare() throws {
        let (recorder, finished) = recorder(10)
        recorder.start()
        recorder.began()
        recorder.ended(records: 12, bytes: 0, startedNs: 0, nowNs: 1)
        recorder.use(12)
        #expect(try finished.wait().records == 12)
    }

    @Test func aFailureEndsTheRun() {
        let (recorder, finished) = recorder(10)
        recorder.start()
        recorder.fail(ClientError(.connection, "gone"))
        #expect(throws: ClientError(.connection, "")) { try finished.wait() }
        recorder.stop()
    }
}

@Suite struct LoadReportTests {
    private var report: LoadReport {
        var report = LoadReport(mode: .produce)
        report.requests = 1000
        report.records = 2000
        report.bytes = 3_000_000
        report.seconds = 0.5
        report.latencies.record(1_500_000)
        report.clientCPUSeconds = 0.1
        report.serverCPUSeconds = 0.012
        return report
    }

    @Test func jsonHasTheRatesAndTheCostOfARequest() {
        let json = report.json
        #expect(json.contains("\"records_per_second\":4000.0"))
        #expect(json.contains("\"megabytes_per_second\":6.000"))
        #expect(json.contains("\"p50\":1500.0"))
        #expect(json.contains("\"server_cpu_us_per_request\":12.000"))
        #expect(json.hasPrefix("{\"mode\":\"produce\",") && json.hasSuffix("}"))
    }

    @Test func textNamesTheFirstRefusal() {
        var report = report
        #expect(report.text.contains("4,000 records/s, 6.0 MB/s"))
        #expect(!report.text.contains("REFUSED"))
        report.refusals = 3
        report.firstRefusal = "CORRUPT_MESSAGE"
        #expect(report.text.contains("REFUSED: 3 requests; the first: CORRUPT_MESSAGE"))
    }

    @Test func aRunOfNothingDividesByNothing() {
        let report = LoadReport(mode: .subscribe)
        #expect(report.text.contains("0 records/s"))
        #expect(report.json.contains("\"records_per_second\":0.0"))
    }

    @Test(arguments: [
        (0.0, 0, "0"), (1.25, 1, "1.3"), (-2.5, 1, "-2.5"), (1234.5678, 3, "1234.568"),
        (.infinity, 1, "0"),
    ])
    func numbersAreRounded(_ value: Double, _ places: Int, _ text: String) {
        #expect(LoadReport.decimal(value, places) == text)
    }

    @Test func wholeNumbersAreGrouped() {
        #expect(LoadReport.grouped(0) == "0")
        #expect(LoadReport.grouped(999) == "999")
        #expect(LoadReport.grouped(1000) == "1,000")
        #expect(LoadReport.grouped(12_345_678) == "12,345,678")
    }
}

@Suite struct ProcessTimeTests {
    @Test func theTimesOfAProcessAreFoundBehindAnyName() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20"
        #expect(ProcessTime.seconds(stat: "7 (a) b) \(fields)", ticksPerSecond: 100) == 2)
        #expect(ProcessTime.seconds(stat: "7 (a", ticksPerSecond: 100) == nil)
        #expect(ProcessTime.seconds(stat: "7 (a) S 1", ticksPerSecond: 100) == nil)
    }

    @Test func thisProcessHasUsedTimeAndNoProcessHasNone() {
        #expect(ProcessTime.ownSeconds() > 0)
        #expect(ProcessTime.seconds(pid: -1) == nil)
    }
}
