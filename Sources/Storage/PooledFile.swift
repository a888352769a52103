// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a file whose descriptor comes and goes as the pool needs room.
//
//   closed --any use--> open --room is needed, nobody uses it--> (synced, if it was written) --> closed
//
// `state` guards the descriptor; it is held while the file is opened and closed, not while it is read, written or synced:
// those count themselves as users, and a file with users stays open. A file that was replaced or removed by somebody
// else while it was closed is never taken for the same one: that is an error, which makes its log read-only.

import CLinux
import Glibc
import Synchronization

/// What the pool keeps of an open file; lives as long as the `PooledFile` in front of it.
final class PooledDescriptor: @unchecked Sendable {
    // Unchecked: `place` belongs to the pool, under its lock; all else is immutable or guarded by `state`.
    var place = 0
    private let path: String
    private let fileSystem: RealFileSystem
    private let state: Mutex<State>

    private struct State {
        var file: DescriptorFile?
        /// Calls that are under way.
        var users = 0
        /// Used since the pool looked last.
        var wasUsed = true
        /// Written since the last sync began.
        var isWritten = false
        /// All that is in the file was synced, so that a sync of a closed file has nothing to do.
        var isSynced = false
        /// Why the sync that closing needed has failed: told to the next who asks for a sync.
        var failure: StorageError?
        /// Which file it is, to recognise it.
        var identity: FileIdentity
    }

    init(path: String, file: DescriptorFile, fileSystem: RealFileSystem) throws(StorageError) {
        self.path = path
        self.fileSystem = fileSystem
        state = Mutex(State(file: file, identity: try file.identity()))
        state.withLock { _ in fileSystem.pool.add(self) }
    }

    /// Runs `body` with the open file. `writing`: it changes the file.
    func use<Result>(
        writing: Bool, _ body: (DescriptorFile) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        let file = try begin()
        defer { end(writing: writing) }
        return try body(file)
    }

    func sync() throws(StorageError) {
        let file = try state.withLock { state throws(StorageError) -> DescriptorFile? in
            if let failure = state.failure { throw failure }
            if state.file == nil && state.isSynced { return nil }
            let file = try opened(&state)
            state.users += 1
            state.isWritten = false
            state.isSynced = true
            return file
        }
        guard let file else { return }
        do throws(StorageError) {
            try file.sync()
            state.withLock { $0.users -= 1 }
        } catch {
            state.withLock { state in
                state.users -= 1
                state.isSynced = false
                state.failure = error
            }
            throw error
        }
    }

    /// The descriptor itself, for as long as the result lives.
    func pinned() throws(StorageError) -> DescriptorFile {
        try state.withLock { state throws(StorageError) in try opened(&state) }
    }

    /// Closes the file if nobody uses it now and nobody has since the last time; one that was written only if `syncing`.
    func close(syncing: Bool) {
        _ = state.withLockIfAvailable { state in
            guard let file = state.file, state.users == 0 else { return }
            if state.wasUsed {
                state.wasUsed = false
                return
            }
            if state.isWritten {
                guard syncing else { return }
                state.isWritten = false
                state.isSynced = true
                do throws(StorageError) {
                    try file.sync()
                } catch {
                    state.isSynced = false
                    state.failure = error
                }
            }
            state.file = nil
            fileSystem.pool.remove(self)
        }
    }

    /// Nobody has the file any more.
    func abandon() {
        state.withLock { state in
            guard state.file != nil else { return }
            state.file = nil
            fileSystem.pool.remove(self)
        }
    }

    private func begin() throws(StorageError) -> DescriptorFile {
        try state.withLock { state throws(StorageError) in
            let file = try opened(&state)
            state.users += 1
            return file
        }
    }

    private func end(writing: Bool) {
        state.withLock { state in
            state.users -= 1
            if writing {
                state.isWritten = true
                state.isSynced = false
            }
        }
    }

    private func opened(_ state: inout State) throws(StorageError) -> DescriptorFile {
        state.wasUsed = true
        if let file = state.file { return file }
        let file = try fileSystem.openCounted(path, create: false)
        guard try file.identity() == state.identity else {
            throw StorageError(
                .inputOutput, "\(fileSystem.root)/\(path) is not the file that it was: something else has replaced it;"
                    + " stop what writes in the data directory, and restart the broker")
        }
        state.file = file
        fileSystem.pool.add(self)
        fileSystem.pool.countReopening()
        return file
    }
}

/// A file of the real file system.
final class PooledFile: File {
    private let pooled: PooledDescriptor

    init(_ pooled: PooledDescriptor) { self.pooled = pooled }

    deinit { pooled.abandon() }

    /// The descriptor may be closed at any time: `pinned()` gives a file that has one for sure.
    var descriptor: CInt? { nil }

    func pinned() throws(StorageError) -> any File { try pooled.pinned() }

    func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(StorageError) {
        try pooled.use(writing: true) { (file) throws(StorageError) in
            // SAFETY: the parts are valid during this call, and `File.write` keeps none.
            unsafe try file.write(parts, at: offset)
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StorageError) -> Int {
        try pooled.use(writing: false) { (file) throws(StorageError) in
            // SAFETY: the buffer is valid during this call.
            unsafe try file.read(into: buffer, at: offset)
        }
    }

    func sync() throws(StorageError) { try pooled.sync() }

    func truncate(to size: Int64) throws(StorageError) {
        try pooled.use(writing: true) { (file) throws(StorageError) in try file.truncate(to: size) }
    }

    func size() throws(StorageError) -> Int64 {
        try pooled.use(writing: false) { (file) throws(StorageError) in try file.size() }
    }
}

/// What tells two files apart, whatever they are called.
struct FileIdentity: Equatable {
    var device: UInt
    var node: UInt
}
