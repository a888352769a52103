// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what somebody probably meant to type.

package enum Suggestion {
    /// The known name closest to `name`, if it is close enough to be a slip: one edit in three characters, at most three.
    package static func closest(to name: String, among known: [String]) -> String? {
        let limit = min(3, max(1, name.utf8.count / 3))
        return known.map { ($0, distance(name, $0)) }.filter { $0.1 <= limit }.min { $0.1 < $1.1 }?.0
    }

    /// "; did you mean `x`?", or nothing.
    package static func question(for name: String, among known: [String]) -> String {
        closest(to: name, among: known).map { "; did you mean `\($0)`?" } ?? ""
    }

    /// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
    package static func distance(_ left: String, _ right: String) -> Int {
        let left = Array(left.utf8.prefix(64)), right = Array(right.utf8.prefix(64))
        var beforePrevious = [Int]()
        var previous = Array(0...right.count)
        for row in 1...max(1, left.count) where !left.isEmpty {
            var current = [row]
            for column in 1...max(1, right.count) where !right.isEmpty {
                let isSame = left[row - 1] == right[column - 1]
                var cost = min(previous[column] + 1, current[column - 1] + 1, previous[column - 1] + (isSame ? 0 : 1))
                let isSwap =
                    row > 1 && column > 1 && left[row - 1] == right[column - 2] && left[row - 2] == right[column - 1]
                if isSwap { cost = min(cost, beforePrevious[column - 2] + 1) }
                current.append(cost)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[right.count]
    }
}
