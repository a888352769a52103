// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: a slow disk is the same disk.

import Bytes
import NIOCore
import Testing

@testable import Storage

@Suite("Slow disk")
struct SlowFileSystemTests {
    private let files = SimulatedFileSystem(seed: 3)

    @Test func everythingReachesTheDiskBelow() throws {
        let slow = SlowFileSystem(files, delayMs: 1)
        try slow.makeDirectory("d")
        let file = try slow.open("d/a", create: true)
        try file.write(ByteBuffer(string: "hello"), at: 0)
        try file.sync()
        try slow.syncDirectory("d")
        try slow.syncDirectory("")
        files.crash(.loseUnsynced)
        #expect(try slow.open("d/a", create: false).readAll(limit: 10) == Array("hello".utf8))
        try slow.rename("d/a", to: "d/b")
        #expect(try slow.list("d") == ["b"] && slow.exists("d/b"))
        try slow.open("d/b", create: false).truncate(to: 2)
        #expect(try slow.open("d/b", create: false).size() == 2)
        try slow.remove("d/b")
        #expect(try !slow.exists("d/b"))
    }

    /// A sync takes at least the delay, an append does not wait for it.
    @Test func onlySyncsAreSlow() throws {
        let clock = SystemClock()
        let slow = SlowFileSystem(files, delayMs: 50)
        let file = try slow.open("a", create: true)
        let start = clock.monotonicNs()
        try file.sync()
        #expect(clock.monotonicNs() - start >= 50_000_000)
    }
}
