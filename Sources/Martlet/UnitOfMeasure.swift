// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: numbers with a unit, which settings do not take, for the message that says what to write instead.
//
// Kafka's settings have their unit in the name (`…ms`, `…bytes`) and a plain number as value; `7d` is what people write first.

enum UnitOfMeasure {
    private static let milliseconds: [String: Int64] = [
        "ms": 1, "s": 1000, "sec": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000,
    ]
    private static let bytes: [String: Int64] = [
        "b": 1, "k": 1 << 10, "kb": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gb": 1 << 30,
        "gib": 1 << 30, "t": 1 << 40, "tb": 1 << 40, "tib": 1 << 40,
    ]

    /// The plain number that `text` means as a value of `key`; nil if it is something else.
    static func value(of text: String, for key: String) -> Int64? {
        let text = text.filter { $0 != " " && $0 != "_" }.lowercased()
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits) else { return nil }
        let unit = String(text.dropFirst(digits.count))
        let factor: Int64?
        if key.hasSuffix("ms") {
            factor = milliseconds[unit]
        } else if key.hasSuffix("bytes") || key.split(separator: ".").contains("bytes") {
            factor = bytes[unit]
        } else {
            factor = unit.isEmpty ? 1 : nil
        }
        guard let factor else { return nil }
        let (product, isTooLarge) = number.multipliedReportingOverflow(by: factor)
        return isTooLarge ? nil : product
    }
}
