// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: reading and writing certificate and key files.
//
// Plain system calls with errors that name the file. Files are replaced whole: written under a
// temporary name in the same directory with their final mode, then renamed; so a reader sees the
// old file or the new one, and a key is never readable by others, not even for a moment. They are
// not synced to the disk.

import Glibc

/// Reading and writing of whole small files.
enum PrivateFile {
    /// A PEM file is some kilobytes; whatever is larger is the wrong file.
    static let bytesMax = 1024 * 1024

    /// The content of a file. `what` names it in errors: "certificate", "private key".
    static func read(_ path: String, what: String) throws(TransportError) -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw readError(path, what, errno) }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            // SAFETY: at most `chunk.count` bytes are written into `chunk`, which is live for the
            // call.
            let count = unsafe Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw readError(path, what, errno)
            }
            if count == 0 { return content }
            content += chunk[..<count]
            if content.count > bytesMax {
                throw TransportError(
                    .invalidFile, "\(what) \(path): larger than 1 MiB, not a PEM file")
            }
        }
    }

    static func exists(_ path: String) -> Bool {
        unsafe access(path, F_OK) == 0
    }

    /// Replaces `path` by `content` in one step.
    static func write(_ content: [UInt8], to path: String, mode: mode_t) throws(TransportError) {
        let temporary = "\(path).\(getpid()).tmp"
        unsafe unlink(temporary)
        // O_EXCL: never write a key into a file that somebody else has put there.
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw writeError(path, errno) }
        // The mode that open applied was reduced by the umask.
        var failure: Int32? = fchmod(descriptor, mode) == 0 ? nil : errno
        if failure == nil { failure = writeAll(content, to: descriptor) }
        if close(descriptor) != 0, failure == nil { failure = errno }
        if failure == nil, unsafe rename(temporary, path) != 0 { failure = errno }
        if let failure {
            unsafe unlink(temporary)
            throw writeError(path, failure)
        }
    }

    private static func writeAll(_ content: [UInt8], to descriptor: Int32) -> Int32? {
        var written = 0
        while written < content.count {
            // SAFETY: the slice is live for the call and the count is its own.
            let count = unsafe content[written...].withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 {
                if errno == EINTR { continue }
                return errno
            }
            written += count
        }
        return nil
    }

    /// Makes a directory and its parents; one that exists is left as it is.
    static func makeDirectories(_ path: String) throws(TransportError) {
        var partial = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            partial += part + "/"
            if unsafe mkdir(partial, 0o755) != 0, errno != EEXIST {
                throw TransportError(
                    errno == EACCES ? .permission : .inputOutput,
                    "cannot make the directory \(partial): \(reason(errno)); choose another one",
                    errno: errno)
            }
        }
    }

    private static func readError(_ path: String, _ what: String, _ number: Int32) -> TransportError
    {
        switch number {
        case ENOENT, ENOTDIR:
            TransportError(
                .notFound, "\(what) \(path): no such file\(advice(path))", errno: number)
        case EACCES, EPERM:
            TransportError(
                .permission,
                "\(what) \(path): no permission to read it; "
                    + "run as its owner, or change its owner or mode",
                errno: number)
        case EISDIR:
            TransportError(.inputOutput, "\(what) \(path): a directory; name a file in it", errno: number)
        default: TransportError(.inputOutput, "\(what) \(path): \(reason(number))", errno: number)
        }
    }

    /// Where a path leads that is not what it seems.
    private static func advice(_ path: String) -> String {
        if path.hasPrefix("/") { return "; check the path" }
        if path.hasPrefix("~") || path.contains("$" as Character) {
            return "; `~` and variables mean nothing here: write the whole path"
        }
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        // SAFETY: the buffer is live and its size is passed.
        let isKnown = unsafe getcwd(&buffer, buffer.count) != nil
        let current = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return "\(isKnown ? " in \(current)" : ""); a path that does not begin with / counts from where the program was started"
    }

    private static func writeError(_ path: String, _ number: Int32) -> TransportError {
        let isPermission = number == EACCES || number == EPERM || number == EROFS
        let next = isPermission ? "; make the directory writable, or choose another one" : ""
        return TransportError(
            isPermission ? .permission : .inputOutput,
            "cannot write \(path): \(reason(number))\(next)",
            errno: number)
    }
}

/// The operating system's words for an error number.
func reason(_ number: Int32) -> String {
    // SAFETY: strerror returns a string that is valid until the next call on this thread, and is
    // copied.
    unsafe String(cString: strerror(number))
}
