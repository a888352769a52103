// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: system calls on descriptors, shared by the real and the in-memory file system.
//
// Interrupted calls are repeated, short reads and writes are continued, and errno becomes a `StorageError`
// that names the operation, the path and the reason. Owns nothing; any thread may call.

import CLinux
import Glibc

/// The error of a failed system call: what was tried, on which path, and errno's reason.
func systemError(_ operation: String, _ path: String, _ number: Int32) -> StorageError {
    let code: StorageError.Code
    var advice = ""
    switch number {
    case ENOSPC, EDQUOT:
        code = .full
        advice = "; make room on that disk, or shorten retention"
    case EFBIG:
        code = .full
        advice = "; raise the process's limit (ulimit -f), or lower segment.bytes"
    case EMFILE, ENFILE:
        code = .tooManyOpenFiles
        advice = "; raise the limit (ulimit -n, or LimitNOFILE of the service), or lower max.connections"
    case EACCES, EPERM, EROFS: code = .permission
    case ENOENT: code = .notFound
    default: code = .inputOutput
    }
    // SAFETY: glibc's strerror returns a terminated string that this thread owns until its next call.
    let reason = unsafe String(cString: strerror(number))
    return StorageError(code, "cannot \(operation) \(path): \(reason)\(advice)", errno: number)
}

/// Calls until the result is not "interrupted" (EINTR).
@inline(__always)
func uninterrupted<T: SignedInteger>(_ call: () -> T) -> T {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}

/// Writes every byte of `parts` at `offset` of the descriptor; one pwritev unless the kernel takes less.
func writeFully(
    _ descriptor: CInt, _ parts: [UnsafeRawBufferPointer], at offset: Int64, path: String
) throws(StorageError) {
    // SAFETY: the vectors point into `parts`, which the caller keeps alive during the call and which is only read.
    var vectors = unsafe parts.map { part in
        unsafe iovec(iov_base: UnsafeMutableRawPointer(mutating: part.baseAddress), iov_len: part.count)
    }
    var position = offset
    var first = 0
    while true {
        while unsafe first < vectors.count && vectors[first].iov_len == 0 { first += 1 }
        if unsafe first == vectors.count { return }
        let written = unsafe vectors.withUnsafeBufferPointer { all in
            let rest = unsafe UnsafeBufferPointer(rebasing: all[first...])
            // SAFETY: `rest` is not empty and every vector in it lies within its part.
            return uninterrupted { unsafe martlet_pwritev(descriptor, rest.baseAddress, CInt(min(rest.count, 1024)), position) }
        }
        guard written >= 0 else { throw systemError("write to", path, errno) }
        position += Int64(written)
        var remaining = written
        while remaining > 0 {
            let taken = unsafe min(remaining, vectors[first].iov_len)
            // SAFETY: `taken` is at most what is left of this vector.
            unsafe vectors[first].iov_base = vectors[first].iov_base.map { unsafe $0 + taken }
            unsafe vectors[first].iov_len -= taken
            remaining -= taken
            if unsafe vectors[first].iov_len == 0 { first += 1 }
        }
    }
}

/// Reads until `buffer` is full or the file ends; returns how many bytes.
func readFully(
    _ descriptor: CInt, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64, path: String
) throws(StorageError) -> Int {
    var count = 0
    while count < buffer.count {
        // SAFETY: the destination is the part of `buffer` that is not filled yet.
        let result = uninterrupted {
            unsafe pread(descriptor, buffer.baseAddress! + count, buffer.count - count, off_t(offset) + off_t(count))
        }
        guard result >= 0 else { throw systemError("read", path, errno) }
        if result == 0 { break }
        count += result
    }
    return count
}

/// The size of the file behind a descriptor.
func sizeOfFile(_ descriptor: CInt, path: String) throws(StorageError) -> Int64 {
    var status = stat()
    // SAFETY: `status` is a live local for the duration of the call.
    guard unsafe fstat(descriptor, &status) == 0 else { throw systemError("examine", path, errno) }
    return Int64(status.st_size)
}

/// Names in the directory behind a descriptor, which is closed.
func listDirectory(owning number: CInt, path: String) throws(StorageError) -> [String] {
    // SAFETY: on success the stream owns the descriptor and is closed below, once.
    guard let stream = unsafe fdopendir(number) else {
        let reason = errno
        _ = Glibc.close(number)
        throw systemError("list", path, reason)
    }
    defer { unsafe _ = closedir(stream) }
    var names: [String] = []
    while true {
        errno = 0
        // SAFETY: the entry is valid until the next readdir on this stream, which only this loop calls.
        guard let entry = unsafe readdir(stream) else { break }
        let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
            // SAFETY: d_name is a terminated string within the entry.
            unsafe String(cString: UnsafeRawPointer(pointer).assumingMemoryBound(to: CChar.self))
        }
        if name != "." && name != ".." { names.append(name) }
    }
    guard errno == 0 else { throw systemError("list", path, errno) }
    return names
}

/// One descriptor, closed with its last reference.
final class DescriptorFile: File {
    private let number: CInt
    private let path: String
    /// False for anonymous memory, which has nothing to sync.
    private let isDurable: Bool
    /// Its place in the pool, if it has one.
    private let lease: FilePool.Lease?

    init(owning number: CInt, path: String, isDurable: Bool, lease: FilePool.Lease? = nil) {
        self.number = number
        self.path = path
        self.isDurable = isDurable
        self.lease = lease
    }

    deinit { _ = Glibc.close(number) }

    var descriptor: CInt? { number }

    func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(StorageError) {
        unsafe try writeFully(number, parts, at: offset, path: path)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StorageError) -> Int {
        unsafe try readFully(number, into: buffer, at: offset, path: path)
    }

    func sync() throws(StorageError) {
        guard isDurable else { return }
        guard uninterrupted({ martlet_fdatasync(number) }) == 0 else { throw systemError("sync", path, errno) }
    }

    func truncate(to size: Int64) throws(StorageError) {
        guard uninterrupted({ ftruncate(number, off_t(size)) }) == 0 else {
            throw systemError("truncate", path, errno)
        }
    }

    func size() throws(StorageError) -> Int64 { try sizeOfFile(number, path: path) }

    func identity() throws(StorageError) -> FileIdentity {
        var status = stat()
        // SAFETY: `status` is a live local for the duration of the call.
        guard unsafe fstat(number, &status) == 0 else { throw systemError("examine", path, errno) }
        return FileIdentity(device: UInt(status.st_dev), node: UInt(status.st_ino))
    }
}
