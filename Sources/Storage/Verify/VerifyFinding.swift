// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: what a check of a data directory finds. Plain values; who prints them decides how.

/// One thing that is not as it should be, or that is worth knowing.
package struct VerifyFinding: Equatable, Sendable {
    package enum Severity: String, Sendable, CaseIterable {
        /// Something is lost, wrong, or would be rebuilt.
        case damage
        /// Nothing is wrong, but somebody may wonder.
        case notice
    }

    /// What kind of thing; the names are stable, for programs.
    package enum Kind: String, Sendable, CaseIterable {
        case batch = "batch"
        case counts = "counts"
        case records = "records"
        case gap = "gap"
        case quarantined = "quarantined"
        case tornTail = "torn-tail"
        case missingFile = "missing-file"
        case size = "size"
        case offsetIndex = "index"
        case timeIndex = "timeindex"
        case snapshot = "snapshot"
        case partitionMetadata = "partition-metadata"
        case checkpoint = "checkpoint"
        case cleanMark = "clean-mark"
        case failedSync = "failed-sync"
        case leftover = "leftover"
        case topicId = "topic-id"
        case noTopic = "no-topic"
        case noDirectory = "no-directory"
        case metadataRecord = "metadata-record"
        case offsetRecord = "offset-record"
    }

    package var kind: Kind
    package var severity: Severity
    /// Relative to the data directory.
    package var file: String
    /// Bytes of that file.
    package var positions: Range<Int64>?
    package var offsets: Range<Int64>?
    /// What was found.
    package var what: String
    /// What that means for whoever reads or writes.
    package var meaning: String
    /// What to do.
    package var next: String

    package init(
        _ kind: Kind, _ severity: Severity = .damage, file: String, positions: Range<Int64>? = nil,
        offsets: Range<Int64>? = nil, _ what: String, meaning: String, next: String
    ) {
        self.kind = kind
        self.severity = severity
        self.file = file
        self.positions = positions
        self.offsets = offsets
        self.what = what
        self.meaning = meaning
        self.next = next
    }
}

/// What is checked, and what is known beforehand.
package struct VerifyOptions: Sendable {
    /// Decompress every batch and look at every record.
    package var readsRecords: Bool
    /// A broker has the directory: files grow and go while they are looked at.
    package var isInUse: Bool

    package init(readsRecords: Bool = false, isInUse: Bool = false) {
        self.readsRecords = readsRecords
        self.isInUse = isInUse
    }
}

/// How much was checked.
package struct VerifyTotals: Equatable, Sendable {
    package var logs = 0
    package var segments = 0
    package var batches = 0
    package var records: Int64 = 0
    package var bytes: Int64 = 0

    package init() {}
}
