// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: an audit log's file, or standard output.
//
// Lines are appended whole; one that was torn by a full disk is ended before the next. The file is made with mode 0600, and made again
// when somebody has moved or removed it: that is how it is rotated. Used by one thread at a time, which may wait for the disk;
// `state` guards it all the same.

import Glibc
import Logging
import Synchronization

package final class AuditFile: AuditSink {
    private struct State {
        var descriptor: CInt = -1
        var isTorn = false
        var hasFailed = false
    }

    /// nil: standard output.
    private let path: String?
    private let logger: Logger
    private let state = Mutex(State())

    package init(path: String?, logger: Logger) {
        self.path = path
        self.logger = logger
        if path == nil { state.withLock { $0.descriptor = STDOUT_FILENO } }
    }

    deinit {
        let descriptor = state.withLock { $0.descriptor }
        if path != nil, descriptor >= 0 { _ = Glibc.close(descriptor) }
    }

    /// Whether it can be written to now; the reason if not.
    package func problem() -> String? {
        state.withLock { state in reopen(&state) ? nil : reason(errno) }
    }

    package func write(_ lines: [String]) -> Int {
        state.withLock { state in
            guard reopen(&state) else { return failed(lines.count, errno, &state) }
            var text = state.isTorn ? "\n" : ""
            for (index, line) in lines.enumerated() {
                text += line + "\n"
                // In pieces, so that a failure loses few.
                guard text.utf8.count > 64 << 10 || index == lines.count - 1 else { continue }
                guard append(&text, &state) else { return failed(lines.count - index, errno, &state) }
                text = ""
            }
            if state.hasFailed { logger.notice("the audit log is written again") }
            state.hasFailed = false
            return 0
        }
    }

    private func failed(_ lost: Int, _ error: CInt, _ state: inout State) -> Int {
        logger.error(
            "audit events are lost: the audit log cannot be written",
            metadata: ["file": "\(path ?? "stdout")", "cause": "\(reason(error))"])
        state.hasFailed = true
        return lost
    }

    /// Opens the file unless it is open and still the one of this name.
    private func reopen(_ state: inout State) -> Bool {
        guard let path else { return true }
        var named = stat()
        var opened = stat()
        // SAFETY: both are live locals for the duration of the calls; the path is a C string for its call.
        let isSame = unsafe state.descriptor >= 0 && stat(path, &named) == 0 && fstat(state.descriptor, &opened) == 0
            && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev
        if isSame { return true }
        if state.descriptor >= 0 { _ = Glibc.close(state.descriptor) }
        // SAFETY: the path is a C string for the duration of the call.
        state.descriptor = unsafe open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        state.isTorn = false
        return state.descriptor >= 0
    }

    private func append(_ text: inout String, _ state: inout State) -> Bool {
        let descriptor = state.descriptor
        let (isWhole, hasBegun) = text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                // SAFETY: the slice lies within `bytes`, which is valid for the call.
                let count = unsafe Glibc.write(descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done)
                if count < 0 {
                    if errno == EINTR { continue }
                    return (false, done > 0)
                }
                done += count
            }
            return (true, true)
        }
        state.isTorn = isWhole ? false : (hasBegun || state.isTorn)
        return isWhole
    }

    private func reason(_ error: CInt) -> String {
        // SAFETY: strerror's text is copied before anything else can change it.
        unsafe strerror(error).map { unsafe String(cString: $0) } ?? "error \(error)"
    }
}
