// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: tells systemd's journal how severe a line is, so that `journalctl -p warning` finds it (sd-daemon(3)).
//
// The journal reads `<4>` before a line and removes it. Nobody else would, so it is written only where standard error is the
// stream that systemd names in JOURNAL_STREAM.

import Glibc
import Logging

package enum JournalPriority {
    /// As in syslog(3).
    static func prefix(_ level: Logger.Level) -> String {
        switch level {
        case .critical: "<2>"
        case .error: "<3>"
        case .warning: "<4>"
        case .notice: "<5>"
        case .info: "<6>"
        case .debug, .trace: "<7>"
        }
    }

    /// Whether `descriptor` is the stream that `journalStream` names by device and inode.
    package static func isRead(
        from descriptor: Int32 = STDERR_FILENO, journalStream: String? = Self.journalStream
    ) -> Bool {
        var status = stat()
        // SAFETY: `status` is a live local for the duration of the call.
        guard let journalStream, unsafe fstat(descriptor, &status) == 0 else { return false }
        return journalStream == "\(status.st_dev):\(status.st_ino)"
    }

    package static var journalStream: String? {
        // SAFETY: a terminated string or nil; it is copied before anything else happens.
        unsafe getenv("JOURNAL_STREAM").map { unsafe String(cString: $0) }
    }
}
