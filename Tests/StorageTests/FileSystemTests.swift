// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: what every file system promises, and what each of them does besides.

import Glibc
import NIOCore
import Testing

@testable import Storage

/// The three file systems, each empty.
enum FileSystemKind: CaseIterable, Sendable {
    case real, memory, simulated

    func make(_ place: TemporaryDirectory) throws -> any FileSystem {
        switch self {
        case .real: try RealFileSystem(root: place.path)
        case .memory: MemoryFileSystem()
        case .simulated: SimulatedFileSystem(seed: 1)
        }
    }
}

@Suite("Every file system")
struct FileSystemTests {
    private let place: TemporaryDirectory

    init() throws { place = try TemporaryDirectory() }

    @Test(arguments: FileSystemKind.allCases) func writtenBytesAreRead(kind: FileSystemKind) throws {
        let files = try kind.make(place)
        let file = try files.open("f", create: true)
        #expect(try file.size() == 0)
        try write(["hello ", "", "world"], to: file, at: 0)
        #expect(try file.size() == 11)
        #expect(try text(file, at: 0, count: 100) == "hello world")
        #expect(try text(file, at: 6, count: 3) == "wor")
        #expect(try text(file, at: 11, count: 3) == "")
        #expect(try text(file, at: 500, count: 3) == "")
        try file.sync()
        #expect(String(decoding: try files.contents("f"), as: UTF8.self) == "hello world")
    }

    @Test(arguments: FileSystemKind.allCases) func aWriteBehindTheEndLeavesZeros(kind: FileSystemKind) throws {
        let file = try kind.make(place).open("f", create: true)
        try write(["x"], to: file, at: 3)
        #expect(try text(file, at: 0, count: 10) == "\0\0\0x")
    }

    @Test(arguments: FileSystemKind.allCases) func aWriteOfManyPartsIsComplete(kind: FileSystemKind) throws {
        let file = try kind.make(place).open("f", create: true)
        let parts = (0..<900).map { "\($0)," }
        try write(parts, to: file, at: 0)
        #expect(try text(file, at: 0, count: 10_000) == parts.joined())
    }

    @Test(arguments: FileSystemKind.allCases) func truncationCutsAndExtends(kind: FileSystemKind) throws {
        let file = try kind.make(place).open("f", create: true)
        try write(["abcdef"], to: file, at: 0)
        try file.truncate(to: 2)
        try file.truncate(to: 4)
        #expect(try text(file, at: 0, count: 10) == "ab\0\0")
    }

    @Test(arguments: FileSystemKind.allCases) func aMissingFileIsNotFound(kind: FileSystemKind) throws {
        let files = try kind.make(place)
        #expect(throws: StorageError(.notFound, "")) { try files.open("f", create: false) }
        #expect(throws: StorageError(.notFound, "")) { try files.open("d/f", create: true) }
        #expect(throws: StorageError(.notFound, "")) { try files.remove("f") }
        #expect(throws: StorageError(.notFound, "")) { try files.list("d") }
        #expect(throws: StorageError(.notFound, "")) { try files.rename("f", to: "g") }
        #expect(throws: StorageError(.notFound, "")) { try files.makeDirectory("d/e") }
        #expect(try !files.exists("f") && !files.exists("d/f"))
    }

    @Test(arguments: FileSystemKind.allCases) func directoriesHoldNames(kind: FileSystemKind) throws {
        let files = try kind.make(place)
        try files.makeDirectory("d")
        try files.makeDirectory("d")
        _ = try files.open("d/a", create: true)
        _ = try files.open("d/b", create: true)
        _ = try files.open("dx", create: true)
        #expect(try files.list("d").sorted() == ["a", "b"])
        #expect(try files.list("").sorted() == ["d", "dx"])
        #expect(try files.exists("d/a"))
        #expect(throws: StorageError.self) { try files.remove("d") }
        try files.remove("d/a")
        try files.remove("d/b")
        try files.remove("d")
        #expect(try files.list("") == ["dx"])
        try files.syncDirectory("")
    }

    @Test(arguments: FileSystemKind.allCases) func aRenameReplacesAFileAndMovesADirectory(kind: FileSystemKind) throws {
        let files = try kind.make(place)
        try write(["one"], to: try files.open("1", create: true), at: 0)
        try write(["two"], to: try files.open("2", create: true), at: 0)
        try files.rename("1", to: "2")
        #expect(String(decoding: try files.contents("2"), as: UTF8.self) == "one")
        #expect(try !files.exists("1"))
        try files.makeDirectory("d")
        try write(["three"], to: try files.open("d/3", create: true), at: 0)
        try files.rename("d", to: "e")
        #expect(String(decoding: try files.contents("e/3"), as: UTF8.self) == "three")
        #expect(try files.list("e") == ["3"])
    }

    @Test(arguments: FileSystemKind.allCases) func anOpenFileOutlivesItsName(kind: FileSystemKind) throws {
        let files = try kind.make(place)
        let file = try files.open("f", create: true)
        try write(["still here"], to: file, at: 0)
        try files.remove("f")
        #expect(try text(file, at: 0, count: 100) == "still here")
    }

    @Test(arguments: [FileSystemKind.real, .memory]) func aFileHasADescriptorForSendfile(kind: FileSystemKind) throws {
        let files = try kind.make(place)
        let source = try files.open("source", create: true)
        let target = try files.open("target", create: true)
        try write(["0123456789"], to: source, at: 0)
        var offset = off_t(3)
        // SAFETY: both descriptors live as long as the files; `offset` is a live local.
        let sent = unsafe sendfile(try #require(try target.pinned().descriptor), try #require(try source.pinned().descriptor), &offset, 4)
        #expect(sent == 4)
        #expect(try text(target, at: 0, count: 10) == "3456")
    }

    @Test func aReplacedFileHoldsTheNewBytesAndNoTemporaryOneIsLeft() throws {
        let files = SimulatedFileSystem(seed: 1)
        for change in 0..<20 {
            try AtomicFile.replace("f", with: ByteBuffer(string: "old"), in: files)
            files.crash(atChange: files.changeCount + change)
            let isDone = (try? AtomicFile.replace("f", with: ByteBuffer(string: "newer"), in: files)) != nil
            files.crash(.arbitrary)
            let found = String(decoding: try files.contents("f"), as: UTF8.self)
            #expect(isDone ? found == "newer" : ["old", "newer"].contains(found))
        }
        try AtomicFile.replace("f", with: ByteBuffer(string: "last"), in: files)
        #expect(try files.list("") == ["f"])
    }

    // MARK: Errors of the real one

    @Test func errorsNameOperationPathAndReason() throws {
        let files = try RealFileSystem(root: place.path)
        #expect {
            try files.open("nowhere/f", create: true)
        } throws: { error in
            (error as? StorageError)?.message == "cannot open \(place.path)/nowhere/f: No such file or directory"
        }
        for (number, code) in [
            (ENOSPC, StorageError.Code.full), (EDQUOT, .full), (EACCES, .permission), (EPERM, .permission),
            (EROFS, .permission), (ENOENT, .notFound), (EIO, .inputOutput), (EMFILE, .tooManyOpenFiles),
            (ENFILE, .tooManyOpenFiles), (EFBIG, .full),
        ] {
            let error = systemError("sync", "/x", number)
            #expect(error.code == code && error.errno == number && error.message.hasPrefix("cannot sync /x: "))
        }
    }

    @Test func aFullDeviceIsReportedAsFull() throws {
        let device = try RealFileSystem(root: "/dev").open("full", create: false)
        #expect(throws: StorageError(.full, "")) { try write(["x"], to: device, at: 0) }
    }

    @Test func freeSpaceIsKnownOnARealDisk() throws {
        #expect(try #require(try RealFileSystem(root: place.path).availableBytes()) > 0)
    }

    private func write(_ parts: [String], to file: any File, at offset: Int64) throws {
        // One buffer, cut into as many pieces: pointers to the pieces stay valid while it is borrowed.
        let all = ByteBuffer(string: parts.joined())
        try unsafe all.withUnsafeReadableBytes { (bytes: UnsafeRawBufferPointer) throws(StorageError) in
            var start = 0
            var pieces: [UnsafeRawBufferPointer] = unsafe []
            for part in parts {
                unsafe pieces.append(UnsafeRawBufferPointer(rebasing: bytes[start..<start + part.utf8.count]))
                start += part.utf8.count
            }
            unsafe try file.write(pieces, at: offset)
        }
    }

    private func text(_ file: any File, at offset: Int64, count: Int) throws -> String {
        var buffer = ByteBuffer()
        _ = try file.read(into: &buffer, count: count, at: offset)
        return String(buffer: buffer)
    }
}

@Suite("The simulated disk")
struct SimulatedFileSystemTests {
    private let files = SimulatedFileSystem(seed: 4)

    private func put(_ text: String, _ path: String = "f", at offset: Int64 = 0) throws {
        try files.open(path, create: true).write(ByteBuffer(string: text), at: offset)
    }

    private func text(_ path: String = "f") throws -> String {
        String(decoding: try files.contents(path), as: UTF8.self)
    }

    @Test func whatWasNotSyncedIsLost() throws {
        try put("kept")
        try files.open("f", create: false).sync()
        try files.syncDirectory("")
        try put("lost", at: 4)
        try put("x", "g")
        files.crash(.loseUnsynced)
        #expect(try text() == "kept")
        #expect(try files.list("") == ["f"])
    }

    @Test func aSyncedFileWithoutASyncedNameIsLost() throws {
        try put("bytes")
        try files.open("f", create: false).sync()
        files.crash(.loseUnsynced)
        #expect(try files.list("") == [])
    }

    @Test func aNameThatWasRemovedWithoutASyncIsBack() throws {
        try put("bytes")
        try files.open("f", create: false).sync()
        try files.syncDirectory("")
        try files.remove("f")
        files.crash(.loseUnsynced)
        #expect(try text() == "bytes")
    }

    @Test func aKilledProcessLosesNothing() throws {
        try put("one")
        try files.makeDirectory("d")
        files.crash(.keepUnsynced)
        #expect(try text() == "one")
        #expect(try files.exists("d"))
    }

    @Test func anythingCanBecomeOfUnsyncedWrites() throws {
        var outcomes: Set<String> = []
        for seed in UInt64(0)..<200 {
            let files = SimulatedFileSystem(seed: seed)
            let file = try files.open("f", create: true)
            try files.syncDirectory("")
            try file.write(ByteBuffer(string: "abcd"), at: 0)
            try file.write(ByteBuffer(string: "efgh"), at: 4)
            files.crash(.arbitrary)
            outcomes.insert(String(decoding: try files.contents("f"), as: UTF8.self))
        }
        #expect(outcomes.isSuperset(of: ["", "abcd", "abcdefgh", "\0\0\0\0efgh"]))
        // Torn at any byte.
        #expect(outcomes.contains { $0.hasPrefix("abcd") && $0.count > 4 && $0.count < 8 })
        #expect(outcomes.allSatisfy { zip($0, "abcdefgh").allSatisfy { $0 == "\0" || $0 == $1 } })
    }

    @Test func theSameSeedGivesTheSameOutcome() throws {
        func outcome() throws -> [UInt8] {
            let files = SimulatedFileSystem(seed: 77)
            let file = try files.open("f", create: true)
            try files.syncDirectory("")
            for number in 0..<20 { try file.write(ByteBuffer(string: "\(number)"), at: Int64(number)) }
            files.crash(.arbitrary)
            return try files.contents("f")
        }
        #expect(try outcome() == outcome())
    }

    @Test func aFileFromBeforeTheCrashIsDead() throws {
        try put("x")
        let file = try files.open("f", create: false)
        files.crash(.keepUnsynced)
        #expect(throws: StorageError(.closed, "")) { try file.size() }
        #expect(throws: StorageError(.closed, "")) { try file.sync() }
    }

    @Test func theMachineIsDownAfterACrashThatWasSetUp() throws {
        files.crash(atChange: 1)
        let file = try files.open("f", create: true)
        #expect(throws: StorageError(.closed, "")) { try file.write(ByteBuffer(string: "abc"), at: 0) }
        #expect(files.hasCrashed)
        #expect(throws: StorageError(.closed, "")) { try files.list("") }
        files.crash(.keepUnsynced)
        #expect(try ["", "a", "ab", "abc"].contains(text()))
    }

    @Test func aFailedSyncLosesTheBytesForGood() throws {
        try put("bytes")
        try files.syncDirectory("")
        files.inject(SimulatedFault(.sync, times: 1))
        let file = try files.open("f", create: false)
        #expect(throws: StorageError(.inputOutput, "")) { try file.sync() }
        try file.sync()
        #expect(try text() == "bytes")
        files.crash(.loseUnsynced)
        #expect(try text() == "")
    }

    @Test func aFullDiskTakesWhatFits() throws {
        files.limitCapacity(to: 6)
        try put("abcd")
        #expect(files.availableBytes() == 2)
        #expect(throws: StorageError(.full, "")) { try put("efgh", at: 4) }
        #expect(try text() == "abcdef")
        try put("ABCDEF")
        try files.open("f", create: false).truncate(to: 1)
        #expect(files.availableBytes() == 5)
        try files.remove("f")
        #expect(files.availableBytes() == 6)
    }

    @Test func faultsHitTheCallsTheyAreMeantFor() throws {
        files.inject(SimulatedFault(.write, path: "b", skip: 1, times: 1, errno: ENOSPC))
        try put("1", "a")
        try put("1", "b")
        #expect(throws: StorageError(.full, "")) { try put("2", "b", at: 1) }
        try put("2", "b", at: 1)
        try put("2", "a", at: 1)
        #expect(try text("b") == "12")
    }
}
