// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: small text files outside the data directory: the configuration and the ready file.
//
// Blocking calls, used at start and at the end only.

import Glibc

package enum TextFile {
    /// Why a call failed, in the operating system's words.
    static func reason(_ number: Int32) -> String {
        // SAFETY: strerror returns a valid C string; it is copied at once.
        unsafe String(cString: strerror(number))
    }

    struct Failure: Error {
        var reason: String
    }

    /// The whole file, unless it is larger than `bytesMax`: then one byte more than that.
    static func read(_ path: String, bytesMax: Int) throws(Failure) -> [UInt8] {
        // SAFETY: the path is a C string for the duration of the call.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(reason: reason(errno)) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while bytes.count <= bytesMax {
            // SAFETY: the kernel writes at most `count` bytes into the live array.
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            guard count >= 0 else { throw Failure(reason: reason(errno)) }
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return Array(bytes.prefix(bytesMax + 1))
    }

    /// What a file with a password in it says.
    package static func firstLine(of path: String) throws(ConfigurationError) -> String {
        do {
            let bytes = try read(path, bytesMax: 4096)
            return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }, as: UTF8.self)
        } catch {
            throw ConfigurationError("cannot read \(path): \(error.reason); name a file that this user may read")
        }
    }

    /// Puts a file in place in one step: whoever sees it sees all of it.
    static func replace(_ path: String, with text: String) throws(Failure) {
        let temporary = "\(path).\(getpid())"
        // SAFETY: the paths are C strings for the duration of each call.
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Failure(reason: reason(errno)) }
        var text = text
        let isWritten = text.withUTF8 { bytes in
            // SAFETY: reads at most `count` bytes of a buffer that is valid for the call.
            unsafe write(descriptor, bytes.baseAddress, bytes.count) == bytes.count
        }
        let number = errno
        close(descriptor)
        guard isWritten else {
            remove(temporary)
            throw Failure(reason: reason(number))
        }
        guard unsafe rename(temporary, path) == 0 else {
            let number = errno
            remove(temporary)
            throw Failure(reason: reason(number))
        }
    }

    /// Removes a file; it may be gone already.
    static func remove(_ path: String) {
        // SAFETY: the path is a C string for the duration of the call.
        _ = unsafe unlink(path)
    }
}

/// A path that means the same from any working directory.
func absolute(_ path: String) -> String {
    guard !path.hasPrefix("/") else { return path }
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    // SAFETY: the buffer is live and its size is passed.
    guard unsafe getcwd(&buffer, buffer.count) != nil else { return path }
    let current = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    let relative = path.hasPrefix("./") ? String(path.dropFirst(2)) : path
    if relative.isEmpty || relative == "." { return current }
    return current == "/" ? "/" + relative : current + "/" + relative
}
