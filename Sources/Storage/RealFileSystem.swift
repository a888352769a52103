// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the file system of the machine, under one root directory.
//
// Paths are resolved from the root's descriptor (openat and its family), so that a change of the working directory
// or a renamed parent cannot redirect them. Immutable after `init`; any thread may call.

import CLinux
import Glibc
import NIOCore

/// Files on the machine's disks.
package final class RealFileSystem: FileSystem {
    /// Where the root is, for messages.
    package let root: String
    private let rootDescriptor: CInt
    /// What bounds the files that are open.
    package let pool: FilePool

    /// Opens `root`, made if it is missing (its parent must exist).
    package init(root: String, pool: FilePool = FilePool()) throws(StorageError) {
        self.root = root
        self.pool = pool
        // SAFETY: Swift passes `root` as a terminated string for the duration of each call.
        // Not for everybody: it holds what clients sent, and their salted passwords.
        if unsafe mkdir(root, 0o750) != 0 && errno != EEXIST {
            throw Self.rootError("make the data directory", root, errno)
        }
        // SAFETY: as above.
        let descriptor = uninterrupted { unsafe martlet_open(root, O_RDONLY | O_DIRECTORY, 0) }
        guard descriptor >= 0 else { throw Self.rootError("open the data directory", root, errno) }
        rootDescriptor = descriptor
    }

    /// With what to do about it.
    private static func rootError(_ operation: String, _ root: String, _ number: Int32) -> StorageError {
        var error = systemError(operation, root, number)
        error.message += advice(number)
        return error
    }

    private static func advice(_ number: Int32) -> String {
        switch number {
        case ENOENT: "; make the directory it is in first, or use another one (--data)"
        case ENOTDIR: "; a file is in the way: move it, or use another directory (--data)"
        case EACCES, EPERM: "; let this user write there (chown), or use another directory (--data)"
        case EROFS: "; mount that file system read-write, or use another directory (--data)"
        default: ""
        }
    }

    deinit { _ = Glibc.close(rootDescriptor) }

    package func open(_ path: String, create: Bool) throws(StorageError) -> any File {
        let file = try openCounted(path, create: create)
        return PooledFile(try PooledDescriptor(path: path, file: file, fileSystem: self))
    }

    /// Opens a descriptor that counts in the pool, after making room there.
    func openCounted(_ path: String, create: Bool) throws(StorageError) -> DescriptorFile {
        let flags = create ? O_RDWR | O_CREAT : O_RDWR
        pool.makeRoom()
        let number = try openDescriptor(path, flags: flags)
        return DescriptorFile(owning: number, path: absolute(path), isDurable: true, lease: pool.lease())
    }

    package func exists(_ path: String) throws(StorageError) -> Bool {
        var status = stat()
        // SAFETY: `status` is a live local; the path is a terminated string for the duration of the call.
        if unsafe fstatat(rootDescriptor, path, &status, AT_SYMLINK_NOFOLLOW) == 0 { return true }
        if errno == ENOENT || errno == ENOTDIR { return false }
        throw systemError("examine", absolute(path), errno)
    }

    package func makeDirectory(_ path: String) throws(StorageError) {
        // SAFETY: the path is a terminated string for the duration of the call.
        if unsafe mkdirat(rootDescriptor, path, 0o755) != 0 && errno != EEXIST {
            throw systemError("make the directory", absolute(path), errno)
        }
    }

    package func list(_ path: String) throws(StorageError) -> [String] {
        let number = try openDescriptor(path, flags: O_RDONLY | O_DIRECTORY)
        return try listDirectory(owning: number, path: absolute(path))
    }

    package func rename(_ from: String, to: String) throws(StorageError) {
        // SAFETY: both paths are terminated strings for the duration of the call.
        guard unsafe renameat(rootDescriptor, from, rootDescriptor, to) == 0 else {
            throw systemError("rename to \(absolute(to)) the file", absolute(from), errno)
        }
    }

    package func remove(_ path: String) throws(StorageError) {
        // SAFETY: the path is a terminated string for the duration of each call.
        if unsafe unlinkat(rootDescriptor, path, 0) == 0 { return }
        if errno == EISDIR, unsafe unlinkat(rootDescriptor, path, AT_REMOVEDIR) == 0 { return }
        throw systemError("remove", absolute(path), errno)
    }

    package func syncDirectory(_ path: String) throws(StorageError) {
        let number = try openDescriptor(path, flags: O_RDONLY | O_DIRECTORY)
        defer { _ = Glibc.close(number) }
        guard uninterrupted({ fsync(number) }) == 0 else {
            throw systemError("sync the directory", absolute(path), errno)
        }
    }

    package var syncsInParallel: Bool { true }

    package var location: String {
        // SAFETY: the path is a C string for the call; the result is freed after it was copied.
        guard let resolved = unsafe realpath(root, nil) else { return root }
        defer { unsafe free(resolved) }
        return unsafe String(cString: resolved)
    }

    package func totalBytes() -> Int64? {
        var status = statvfs()
        // SAFETY: `status` is a live local for the duration of the call.
        guard unsafe fstatvfs(rootDescriptor, &status) == 0 else { return nil }
        return Int64(clamping: UInt64(status.f_blocks).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
    }

    package func availableBytes() -> Int64? {
        var status = statvfs()
        // SAFETY: `status` is a live local for the duration of the call.
        guard unsafe fstatvfs(rootDescriptor, &status) == 0 else { return nil }
        return Int64(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
    }

    package func lock(_ path: String, contents: String) throws(StorageError) -> any FileLock {
        let number: CInt
        do throws(StorageError) {
            number = try openDescriptor(path, flags: O_RDWR | O_CREAT)
        } catch {
            // The first file that is opened for writing: it tells what the directory allows.
            throw StorageError(error.code, error.message + Self.advice(error.errno ?? 0), errno: error.errno)
        }
        let file = DescriptorFile(owning: number, path: absolute(path), isDurable: true)
        guard uninterrupted({ martlet_lock_exclusive(number) }) == 0 else {
            let reason = errno
            guard reason == EWOULDBLOCK else { throw systemError("lock", absolute(path), reason) }
            throw StorageError(.inUse, "the data directory \(root) is in use\(try holder(of: file))", errno: reason)
        }
        do throws(StorageError) {
            try file.truncate(to: 0)
            try file.write(ByteBuffer(string: contents), at: 0)
        } catch {
            // What is in it is for people only; a full disk must not keep its records from being read.
            if error.code != .full { throw error }
        }
        return HeldLock(file: file)
    }

    /// Names the process that wrote its id in a lock file, as far as it can be known.
    private func holder(of file: DescriptorFile) throws(StorageError) -> String {
        let digits = try file.readAll(limit: 64).prefix { $0 >= 0x30 && $0 <= 0x39 }
        guard let process = Int32(String(decoding: digits, as: UTF8.self)) else { return " by another process" }
        // SAFETY: the path is a terminated string for the duration of the call.
        let number = unsafe martlet_open("/proc/\(process)/comm", O_RDONLY, 0)
        guard number >= 0 else { return " by process \(process)" }
        let comm = DescriptorFile(owning: number, path: "/proc/\(process)/comm", isDurable: false)
        let name = try comm.readAll(limit: 64).prefix { $0 != 0x0a }
        return " by process \(process) (\(String(decoding: name, as: UTF8.self)))"
    }

    /// If the system has no descriptor left, the pool gives some back first.
    private func openDescriptor(_ path: String, flags: CInt) throws(StorageError) -> CInt {
        do throws(StorageError) {
            return try openOnce(path, flags: flags)
        } catch {
            guard error.code == .tooManyOpenFiles else { throw error }
            pool.makeRoom(extra: StorageLimits.filesClosedForRoom)
            return try openOnce(path, flags: flags)
        }
    }

    private func openOnce(_ path: String, flags: CInt) throws(StorageError) -> CInt {
        let name = path.isEmpty ? "." : path
        // SAFETY: the path is a terminated string for the duration of the call.
        let number = uninterrupted { unsafe martlet_openat(rootDescriptor, name, flags, 0o644) }
        guard number >= 0 else { throw systemError("open", absolute(path), errno) }
        return number
    }

    private func absolute(_ path: String) -> String { path.isEmpty ? root : "\(root)/\(path)" }
}

/// flock(2) lasts as long as the open file.
private final class HeldLock: FileLock {
    private let file: DescriptorFile

    init(file: DescriptorFile) { self.file = file }
}
