// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: a point in time as text, without Foundation.

package enum Timestamp {
    /// `2025-01-31T12:00:00.000Z` for milliseconds since the Unix epoch.
    package static func iso8601(_ milliseconds: Int64) -> String {
        let (days, ofDay) = floorDivide(milliseconds, 86_400_000)
        let (year, month, day) = civil(days)
        let (seconds, millis) = floorDivide(ofDay, 1000)
        let time = "\(two(seconds / 3600)):\(two(seconds / 60 % 60)):\(two(seconds % 60))"
        let thousandths = millis < 10 ? "00\(millis)" : millis < 100 ? "0\(millis)" : "\(millis)"
        return "\(year)-\(two(month))-\(two(day))T\(time).\(thousandths)Z"
    }

    /// The milliseconds of a text that `iso8601` wrote; nil for any other text.
    package static func milliseconds(_ text: String) -> Int64? {
        let fields = text.split { !$0.isASCII || !$0.isNumber }.compactMap { Int64($0) }
        guard fields.count == 7, (1...12).contains(fields[1]), (1...31).contains(fields[2]), fields[0] < 10_000 else { return nil }
        let march = (fields[1] + 9) % 12
        let year = fields[0] - (fields[1] <= 2 ? 1 : 0)
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * march + 2) / 5 + fields[2] - 1 - 719_468
        let milliseconds = (((days * 24 + fields[3]) * 60 + fields[4]) * 60 + fields[5]) * 1000 + fields[6]
        return iso8601(milliseconds) == text ? milliseconds : nil
    }

    /// The proleptic Gregorian date of a day counted from 1970-01-01, counting years from March so that the leap day is last.
    private static func civil(_ days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, ofEra) = floorDivide(days + 719_468, 146_097)
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let dayOfYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let march = (5 * dayOfYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * march + 2) / 5 + 1)
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> (Int64, Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    private static func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
