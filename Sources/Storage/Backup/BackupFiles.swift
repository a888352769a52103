// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the system calls of backup and restore, on absolute paths.
//
// Not through the file-system seam: a backup is on another tree, perhaps on another disk. Blocking; every file that is made
// is durable when its call returns, directories when they are synced.

import CLinux
import Glibc

enum BackupFiles {
    private static let pieceBytes = 1 << 20

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// Makes a directory that must not be there.
    static func make(_ path: String) throws(StorageError) {
        guard unsafe mkdir(path, 0o750) == 0 else { throw systemError("make the directory", path, errno) }
    }

    /// Names in a directory.
    static func list(_ path: String) throws(StorageError) -> [String] {
        guard let stream = unsafe opendir(path) else { throw systemError("list", path, errno) }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        // SAFETY: an entry's name is a terminated string that is copied before the next call on this stream.
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { start in
                unsafe String(cString: UnsafeRawPointer(start).assumingMemoryBound(to: CChar.self))
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    static func size(of path: String) throws(StorageError) -> Int64 {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { throw systemError("look at", path, errno) }
        return Int64(status.st_size)
    }

    /// Whether the file is there under a second name now; false where the file system cannot do that.
    static func link(_ from: String, to: String) throws(StorageError) -> Bool {
        guard unsafe Glibc.link(from, to) == 0 else {
            let number = errno
            if [EXDEV, EPERM, EMLINK, EOPNOTSUPP].contains(number) { return false }
            throw systemError("link", to, number)
        }
        try sync(to)
        return true
    }

    /// Copies the first `bytesMax` bytes, or all there are. Returns how many.
    @discardableResult
    static func copy(_ from: String, to: String, bytesMax: Int64 = .max) throws(StorageError) -> Int64 {
        let source = uninterrupted { unsafe martlet_open(from, O_RDONLY | O_CLOEXEC, 0) }
        guard source >= 0 else { throw systemError("open", from, errno) }
        defer { close(source) }
        let target = uninterrupted { unsafe martlet_open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o640) }
        guard target >= 0 else { throw systemError("make", to, errno) }
        defer { close(target) }
        var piece = [UInt8](repeating: 0, count: pieceBytes)
        var copied: Int64 = 0
        while copied < bytesMax {
            let wanted = Int(min(Int64(pieceBytes), bytesMax - copied))
            // SAFETY: at most `wanted` bytes, which the array has, are written into it, and read from it below.
            let count = uninterrupted { unsafe read(source, &piece, wanted) }
            guard count >= 0 else { throw systemError("read", from, errno) }
            if count == 0 { break }
            var failure: StorageError?
            unsafe piece.withUnsafeBytes { bytes in
                do throws(StorageError) {
                    let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[..<count])
                    unsafe try writeFully(target, [part], at: copied, path: to)
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
            copied += Int64(count)
        }
        guard fsync(target) == 0 else { throw systemError("sync", to, errno) }
        return copied
    }

    static func write(_ text: String, to path: String) throws(StorageError) {
        try write(Array(text.utf8), to: path)
    }

    static func write(_ bytes: [UInt8], to path: String) throws(StorageError) {
        let target = uninterrupted { unsafe martlet_open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o640) }
        guard target >= 0 else { throw systemError("make", path, errno) }
        defer { close(target) }
        var failure: StorageError?
        unsafe bytes.withUnsafeBytes { bytes in
            do throws(StorageError) {
                unsafe try writeFully(target, [bytes], at: 0, path: path)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        guard fsync(target) == 0 else { throw systemError("sync", path, errno) }
    }

    /// Makes a file, or a directory's entries, durable.
    static func sync(_ path: String) throws(StorageError) {
        let descriptor = uninterrupted { unsafe martlet_open(path, O_RDONLY | O_CLOEXEC, 0) }
        guard descriptor >= 0 else { throw systemError("open", path, errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw systemError("sync", path, errno) }
    }

    static func rename(_ from: String, to: String) throws(StorageError) {
        guard unsafe Glibc.rename(from, to) == 0 else { throw systemError("rename \(from) to", to, errno) }
    }

    /// Removes a directory of directories of files; what cannot be removed stays.
    static func removeTree(_ path: String) {
        for name in (try? list(path)) ?? [] {
            let inner = "\(path)/\(name)"
            if isDirectory(inner) { removeTree(inner) } else { _ = unsafe unlink(inner) }
        }
        _ = unsafe rmdir(path)
    }

    static func parent(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }
}
