// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: what all logs of one data directory share.

import Synchronization

/// What all logs of one data directory share. Immutable; its parts guard themselves.
final class LogEnvironment: Sendable {
    let fileSystem: any FileSystem
    let removals: SegmentRemovals
    /// Says that the last run ended cleanly; must be gone before the first write of this one.
    let cleanMark: CleanMark
    /// Told of damage that was not known before, under the log owner's lock: may only log.
    let onDamage: @Sendable (_ name: String, _ range: QuarantinedRange) -> Void

    init(
        fileSystem: any FileSystem, cleanMark: CleanMark,
        onDamage: @escaping @Sendable (_ name: String, _ range: QuarantinedRange) -> Void
    ) {
        self.fileSystem = fileSystem
        self.cleanMark = cleanMark
        self.onDamage = onDamage
        removals = SegmentRemovals(fileSystem: fileSystem)
    }
}
