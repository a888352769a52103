// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: rows in columns, for people.

import Telemetry

struct TextTable {
    private var rows: [[String]]

    init(_ titles: [String]) {
        rows = [titles]
    }

    /// What comes from elsewhere must not steer the terminal.
    mutating func add(_ row: [String]) {
        rows.append(row.map { JSONText.escaped($0) })
    }

    func print(ifEmpty note: String) {
        guard rows.count > 1 else { return Terminal.print(note) }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        for row in rows {
            var line = ""
            for (text, width) in zip(row, widths) {
                line += text + String(repeating: " ", count: width - text.count + 2)
            }
            while line.last == " " { line.removeLast() }
            Terminal.print(line)
        }
    }
}
