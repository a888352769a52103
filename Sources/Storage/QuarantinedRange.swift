// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: damage that was found in a log.

/// Offsets that cannot be read because their bytes are damaged or missing. What lies around them is served.
package struct QuarantinedRange: Equatable, Sendable {
    /// The offsets that are lost; reading one throws `.corrupt`.
    package var offsets: Range<Int64>
    /// Base offset of the segment that holds, or held, them.
    package var segment: Int64
    /// The bytes in that segment's file; empty if the offsets are missing without a trace.
    package var positions: Range<Int64>
    /// What is wrong, for a person.
    package var reason: String

    package init(offsets: Range<Int64>, segment: Int64, positions: Range<Int64>, reason: String) {
        self.offsets = offsets
        self.segment = segment
        self.positions = positions
        self.reason = reason
    }

    /// The line that stands in the log's `quarantine` file.
    package var line: String {
        "offsets \(offsets.lowerBound)..<\(offsets.upperBound)"
            + " file \(SegmentFileName.log(segment)) bytes \(positions.lowerBound)..<\(positions.upperBound): \(reason)\n"
    }
}
