// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a simulated disk for tests: it loses, tears, fails and fills up, as a seed decides.
//
// The same seed and the same calls give the same results. Faults are set up beforehand: an error at the n-th operation,
// or for a kind of operation on certain paths; a crash in the middle of the n-th change; a limit on bytes. After a crash
// every open file is dead, and new ones see what the disk kept. Safe to call from any thread; `state` guards all.

import Bytes
import Glibc
import Synchronization

/// A call that changes something, or a read.
package enum SimulatedOperation: Hashable, Sendable, CaseIterable {
    case create, write, truncate, sync, makeDirectory, rename, remove, syncDirectory, read

    /// For digests.
    var number: UInt64 {
        switch self {
        case .create: 1
        case .write: 2
        case .truncate: 3
        case .sync: 4
        case .makeDirectory: 5
        case .rename: 6
        case .remove: 7
        case .syncDirectory: 8
        case .read: 9
        }
    }

    /// Whether a crash can come in the middle of it.
    var isChange: Bool { self != .read }
}

/// One call, as it was made.
package struct RecordedOperation: Equatable, Sendable {
    package var operation: SimulatedOperation
    package var path: String
    package var offset: Int64 = 0
    package var length: Int64 = 0
}

/// Calls that are to fail.
package struct SimulatedFault: Sendable {
    /// nil: any.
    package var operation: SimulatedOperation?
    /// Only paths that contain this.
    package var path: String
    /// How many matching calls succeed before.
    package var skip: Int
    /// How many fail.
    package var times: Int
    /// EIO, ENOSPC, ...
    package var errno: Int32

    package init(
        _ operation: SimulatedOperation?, path: String = "", skip: Int = 0, times: Int = .max, errno: Int32 = EIO
    ) {
        self.operation = operation
        self.path = path
        self.skip = skip
        self.times = times
        self.errno = errno
    }
}

/// Files on a simulated disk.
package final class SimulatedFileSystem: FileSystem {
    fileprivate struct State: @unchecked Sendable {
        // Unchecked: lives in a mutex; the nodes it shares with open files are only touched under that.
        var disk = SimulatedDisk()
        var generator: SeededGenerator
        var faults: [SimulatedFault] = []
        var recorded: [RecordedOperation] = []
        var isRecording = false
        var changes = 0
        var crashAtChange: Int?
        var hasCrashed = false
        /// Files of an earlier boot are dead.
        var boot = 0
        var capacity: Int64?
        var used: Int64 = 0
        /// Of all calls so far; the same for the same life.
        var digest: UInt64 = 0xcbf2_9ce4_8422_2325
        var duringSync: (() -> Void)?
    }

    fileprivate let state: Mutex<State>

    package init(seed: UInt64) { state = Mutex(State(generator: SeededGenerator(seed: seed))) }

    // MARK: For tests

    /// How many changing operations there have been.
    package var changeCount: Int { state.withLock { $0.changes } }

    /// Adds a fault.
    package func inject(_ fault: SimulatedFault) { state.withLock { $0.faults.append(fault) } }

    package func removeFaults() { state.withLock { $0.faults = [] } }

    /// A hash of every call so far, in order, with what was written.
    package var digest: UInt64 { state.withLock { $0.digest } }

    /// Called inside every sync of a file, before it takes effect: what others do while the disk is slow. What is written
    /// to the file meanwhile is not covered by that sync. nil: syncs are quick.
    package func duringSync(_ body: (() -> Void)?) {
        // SAFETY: the body runs on the thread that syncs, which is the test's own.
        nonisolated(unsafe) let body = body
        state.withLock { $0.duringSync = unsafe body }
    }

    /// The machine is down from now on: every call fails, until `crash` brings it back.
    package func powerOff() { state.withLock { $0.hasCrashed = true } }

    /// A file as a process sees it, and how much of it equals what a power cut would leave; nil if there is none.
    package func contents(of path: String) -> (bytes: [UInt8], durable: Int)? {
        state.withLock { state in
            guard let node = state.disk.node(path), !node.isDirectory else { return nil }
            let same = zip(node.bytes, node.durableBytes).prefix { $0 == $1 }.count
            return (node.bytes, same)
        }
    }

    /// The files of a directory, sorted; none if there is no such directory.
    package func files(in directory: String) -> [String] {
        state.withLock { state in
            (state.disk.node(directory)?.entries ?? [:]).filter { !$0.value.isDirectory }.keys.sorted()
        }
    }

    /// Lets the machine crash in the middle of the changing operation with this number (counted from 0).
    package func crash(atChange number: Int?) { state.withLock { $0.crashAtChange = number } }

    /// Whether the machine is down since a crash that was set up.
    package var hasCrashed: Bool { state.withLock { $0.hasCrashed } }

    /// The machine crashes (if it has not) and comes back.
    package func crash(_ mode: CrashMode) {
        state.withLock { state in
            state.disk.crash(mode, using: &state.generator)
            state.hasCrashed = false
            state.crashAtChange = nil
            state.boot += 1
            state.used = Self.bytes(below: state.disk.root)
        }
    }

    /// Bytes of all files together.
    package var usedBytes: Int64 { state.withLock { $0.used } }

    /// Limits the bytes of all files together; nil: no limit.
    package func limitCapacity(to bytes: Int64?) { state.withLock { $0.capacity = bytes } }

    /// Inverts one bit of a file, as a rotten disk would.
    package func flipBit(_ bit: Int, ofByte offset: Int, in path: String) {
        state.withLock { state in
            guard let node = state.disk.node(path), offset < node.bytes.count else { return }
            node.bytes[offset] ^= 1 << UInt8(bit)
            if offset < node.durableBytes.count { node.durableBytes[offset] ^= 1 << UInt8(bit) }
        }
    }

    /// From now on every call is recorded.
    package func startRecording() { state.withLock { $0.isRecording = true; $0.recorded = [] } }

    package var recorded: [RecordedOperation] { state.withLock { $0.recorded } }

    /// What was recorded since the last time.
    package func takeRecorded() -> [RecordedOperation] {
        state.withLock { state in
            defer { state.recorded = [] }
            return state.recorded
        }
    }

    private static func bytes(below node: SimulatedDisk.Node) -> Int64 {
        node.entries.values.reduce(Int64(node.bytes.count)) { $0 + bytes(below: $1) }
    }
}

// MARK: - Calls

extension SimulatedFileSystem {
    package func open(_ path: String, create: Bool) throws(StorageError) -> any File {
        try state.withLock { state throws(StorageError) in
            try state.refuseIfDown()
            if let node = state.disk.node(path) {
                guard !node.isDirectory else { throw systemError("open", path, EISDIR) }
                return SimulatedFile(self, node, path, boot: state.boot)
            }
            guard create, let (parent, name) = state.disk.parent(of: path) else {
                throw systemError("open", path, ENOENT)
            }
            let isCrash = try state.begin(RecordedOperation(operation: .create, path: path))
            let node = SimulatedDisk.Node(isDirectory: false)
            state.disk.link(node, in: parent, as: name)
            try state.end(isCrash)
            return SimulatedFile(self, node, path, boot: state.boot)
        }
    }

    package func exists(_ path: String) throws(StorageError) -> Bool {
        try state.withLock { state throws(StorageError) in
            try state.refuseIfDown()
            return state.disk.node(path) != nil
        }
    }

    package func makeDirectory(_ path: String) throws(StorageError) {
        try state.withLock { state throws(StorageError) in
            try state.refuseIfDown()
            if let node = state.disk.node(path) {
                guard node.isDirectory else { throw systemError("make the directory", path, EEXIST) }
                return
            }
            guard let (parent, name) = state.disk.parent(of: path) else {
                throw systemError("make the directory", path, ENOENT)
            }
            let isCrash = try state.begin(RecordedOperation(operation: .makeDirectory, path: path))
            state.disk.link(SimulatedDisk.Node(isDirectory: true), in: parent, as: name)
            try state.end(isCrash)
        }
    }

    package func list(_ path: String) throws(StorageError) -> [String] {
        try state.withLock { state throws(StorageError) in
            try state.refuseIfDown()
            guard let node = state.disk.node(path), node.isDirectory else { throw systemError("list", path, ENOENT) }
            return node.entries.keys.sorted()
        }
    }

    package func rename(_ from: String, to: String) throws(StorageError) {
        try state.withLock { state throws(StorageError) in
            try state.refuseIfDown()
            guard let (parent, name) = state.disk.parent(of: from), parent.entries[name] != nil,
                let (newParent, newName) = state.disk.parent(of: to)
            else { throw systemError("rename", from, ENOENT) }
            let isCrash = try state.begin(RecordedOperation(operation: .rename, path: from))
            if let replaced = newParent.entries[newName] { state.used -= Int64(replaced.bytes.count) }
            state.disk.rename(name, in: parent, to: newName, in: newParent)
            try state.end(isCrash)
        }
    }

    package func remove(_ path: String) throws(StorageError) {
        try state.withLock { state throws(StorageError) in
            try state.refuseIfDown()
            guard let (parent, name) = state.disk.parent(of: path), let node = parent.entries[name] else {
                throw systemError("remove", path, ENOENT)
            }
            guard node.entries.isEmpty else { throw systemError("remove", path, ENOTEMPTY) }
            let isCrash = try state.begin(RecordedOperation(operation: .remove, path: path))
            state.used -= Int64(node.bytes.count)
            state.disk.unlink(name, in: parent)
            try state.end(isCrash)
        }
    }

    package func syncDirectory(_ path: String) throws(StorageError) {
        try state.withLock { state throws(StorageError) in
            try state.refuseIfDown()
            guard let node = state.disk.node(path), node.isDirectory else {
                throw systemError("sync the directory", path, ENOENT)
            }
            let isCrash = try state.begin(RecordedOperation(operation: .syncDirectory, path: path))
            // A crash in the middle of a sync leaves it undone: what arrives is the crash's choice.
            try state.end(isCrash)
            state.disk.syncDirectory(node)
        }
    }

    package func availableBytes() -> Int64? {
        state.withLock { state in state.capacity.map { max(0, $0 - state.used) } }
    }
}

extension SimulatedFileSystem.State {
    func refuseIfDown() throws(StorageError) {
        if hasCrashed { throw StorageError(.closed, "the simulated machine is down") }
    }

    /// Counts and records an operation and lets it fail if it is to. True if the machine crashes in the middle of it.
    mutating func begin(_ operation: RecordedOperation) throws(StorageError) -> Bool {
        if isRecording { recorded.append(operation) }
        digest(operation)
        if let number = fault(for: operation) {
            throw systemError("\(operation.operation)", operation.path, number)
        }
        guard operation.operation.isChange else { return false }
        defer { changes += 1 }
        return changes == crashAtChange
    }

    private mutating func digest(_ operation: RecordedOperation) {
        var hash = digest
        for byte in operation.path.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        hash = (hash ^ UInt64(bitPattern: operation.offset)) &* 0x100_0000_01b3
        hash = (hash ^ UInt64(bitPattern: operation.length)) &* 0x100_0000_01b3
        hash = (hash ^ operation.operation.number) &* 0x100_0000_01b3
        digest = hash
    }

    mutating func digest(_ bytes: [UInt8]) {
        // SAFETY: the pointer is read within the closure only.
        let crc = unsafe bytes.withUnsafeBytes { unsafe crc32c($0) }
        digest = (digest ^ UInt64(crc)) &* 0x100_0000_01b3
    }

    /// Takes the machine down if this was the operation to crash in.
    mutating func end(_ isCrash: Bool) throws(StorageError) {
        guard isCrash else { return }
        hasCrashed = true
        throw StorageError(.closed, "the simulated machine has crashed")
    }

    /// The error number of the first fault that matches and is due.
    private mutating func fault(for operation: RecordedOperation) -> Int32? {
        for index in faults.indices {
            guard faults[index].operation == nil || faults[index].operation == operation.operation,
                faults[index].path.isEmpty || operation.path.contains(faults[index].path)
            else { continue }
            if faults[index].skip > 0 {
                faults[index].skip -= 1
            } else if faults[index].times > 0 {
                faults[index].times -= 1
                return faults[index].errno
            }
        }
        return nil
    }
}

/// An open file on a simulated disk.
private final class SimulatedFile: File, @unchecked Sendable {
    // Unchecked: the node is only touched under the file system's lock.
    private let fileSystem: SimulatedFileSystem
    private let node: SimulatedDisk.Node
    private let path: String
    private let boot: Int

    init(_ fileSystem: SimulatedFileSystem, _ node: SimulatedDisk.Node, _ path: String, boot: Int) {
        self.fileSystem = fileSystem
        self.node = node
        self.path = path
        self.boot = boot
    }

    var descriptor: CInt? { nil }

    func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(StorageError) {
        var bytes: [UInt8] = []
        // SAFETY: the parts are valid during this call, and copied here.
        for unsafe part in unsafe parts { unsafe bytes.append(contentsOf: part) }
        let all = bytes
        try withState { state throws(StorageError) in
            let operation = RecordedOperation(
                operation: .write, path: path, offset: offset, length: Int64(all.count))
            let isCrash: Bool
            state.digest(all)
            do throws(StorageError) {
                isCrash = try state.begin(operation)
            } catch {
                // A write that fails may have written a part, unless the file could not even be opened for it.
                if error.code == .tooManyOpenFiles { throw error }
                put(all.prefix(Int.random(in: 0...all.count, using: &state.generator)), at: offset, &state)
                throw error
            }
            let room = state.capacity.map { max(0, Int($0 - state.used) + node.bytes.count - Int(offset)) } ?? .max
            let count = isCrash ? Int.random(in: 0...all.count, using: &state.generator) : all.count
            put(all.prefix(min(count, room)), at: offset, &state)
            try state.end(isCrash)
            if room < all.count { throw systemError("write to", path, ENOSPC) }
        }
    }

    private func put(_ bytes: ArraySlice<UInt8>, at offset: Int64, _ state: inout SimulatedFileSystem.State) {
        guard !bytes.isEmpty else { return }
        let before = node.bytes.count
        state.disk.write(Array(bytes), to: node, at: Int(offset))
        state.used += Int64(node.bytes.count - before)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StorageError) -> Int {
        let bytes = try withState { state throws(StorageError) in
            _ = try state.begin(
                RecordedOperation(operation: .read, path: path, offset: offset, length: Int64(buffer.count)))
            let start = min(Int(offset), node.bytes.count)
            return Array(node.bytes[start..<min(node.bytes.count, start + buffer.count)])
        }
        // SAFETY: there are at most `buffer.count` bytes.
        unsafe buffer.copyBytes(from: bytes)
        return bytes.count
    }

    func sync() throws(StorageError) {
        let count = try withState { _ throws(StorageError) in node.changes.count }
        // The rest of the machine goes on while the disk works, without this lock.
        if let others = fileSystem.state.withLock({ $0.duringSync }) { others() }
        try withState { state throws(StorageError) in
            let isCrash: Bool
            do throws(StorageError) {
                isCrash = try state.begin(RecordedOperation(operation: .sync, path: path))
            } catch {
                if error.code != .tooManyOpenFiles { state.disk.forgetChanges(of: node, count: count) }
                throw error
            }
            try state.end(isCrash)
            state.disk.sync(node, count: count)
        }
    }

    func truncate(to size: Int64) throws(StorageError) {
        try withState { state throws(StorageError) in
            let isCrash = try state.begin(RecordedOperation(operation: .truncate, path: path, offset: size))
            state.used += size - Int64(node.bytes.count)
            state.disk.truncate(node, to: Int(size))
            try state.end(isCrash)
        }
    }

    func size() throws(StorageError) -> Int64 {
        try withState { _ throws(StorageError) in Int64(node.bytes.count) }
    }

    private func withState<Result>(
        _ body: (inout SimulatedFileSystem.State) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        try fileSystem.state.withLock { state throws(StorageError) in
            try state.refuseIfDown()
            guard state.boot == boot else { throw StorageError(.closed, "\(path) was open when the machine crashed") }
            return try body(&state)
        }
    }
}
