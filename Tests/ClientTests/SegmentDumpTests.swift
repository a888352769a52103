// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: what is printed of segment files, and which damage is found.

import Glibc
import NIOCore
import Records
import Testing

@testable import Client

@Suite struct SegmentDumpTests {
    private static let name = "00000000000000000100"

    /// Writes files into a directory of their own and dumps one of them.
    private func dump(
        _ files: [String: ByteBuffer], _ shown: String, isDeep: Bool = false
    ) throws -> (lines: [String], damages: Int) {
        let directory = try makeDirectory()
        defer { removeAll(directory, files.keys.map { $0 }) }
        for (name, bytes) in files {
            let path = "\(directory)/\(name)"
            let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
            var output = StandardOutput(descriptor: descriptor)
            output.write { _ = $0.writeImmutableBuffer(bytes) }
            output.flush()
            close(descriptor)
        }
        let lines = Lines()
        var dump = SegmentDump(isDeep: isDeep) { line in
            lines.all.append(line)
            return true
        }
        try dump.dump("\(directory)/\(shown)")
        return (lines.all, dump.damageCount)
    }

    private final class Lines {
        var all: [String] = []
    }

    private func makeDirectory() throws -> String {
        var template = Array("/tmp/martlet-dump-XXXXXX".utf8CString)
        let isMade = unsafe template.withUnsafeMutableBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return false }
            return unsafe mkdtemp(base) != nil
        }
        guard isMade else { throw ClientError(.invalidArgument, "no temporary directory") }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private func removeAll(_ directory: String, _ names: [String]) {
        for name in names { unsafe unlink("\(directory)/\(name)") }
        unsafe rmdir(directory)
    }

    private func batch(
        _ values: [String], at offset: Int64, compression: CompressionType = .none
    ) -> ByteBuffer {
        var builder = RecordBatchBuilder(compression: compression)
        for value in values {
            builder.append(
                key: nil, value: ByteBuffer(string: value),
                headers: [RecordHeader(key: "h", value: nil)], timestamp: 1000)
        }
        return builder.finish(baseOffset: offset, leaderEpoch: 3)
    }

    private func log(_ batches: [ByteBuffer]) -> ByteBuffer {
        batches.reduce(into: ByteBuffer()) { $0.writeImmutableBuffer($1) }
    }

    private func index(_ entries: [(relative: Int32, position: Int32)]) -> ByteBuffer {
        entries.reduce(into: ByteBuffer()) {
            $0.writeInteger($1.relative)
            $0.writeInteger($1.position)
        }
    }

    @Test func batchesArePrintedWithWhatTheirHeadsSay() throws {
        let first = batch(["a", "b"], at: 100)
        let files = ["\(Self.name).log": log([first, batch(["c"], at: 102, compression: .zstd)])]
        let (lines, damages) = try dump(files, "\(Self.name).log")
        #expect(damages == 0)
        #expect(lines.count == 4)
        #expect(lines[1] == "Log starting offset: 100")
        #expect(lines[2].hasPrefix("baseOffset: 100 lastOffset: 101 count: 2 "))
        #expect(lines[2].contains(" partitionLeaderEpoch: 3 "))
        #expect(lines[2].contains(" position: 0 CreateTime: 1000 size: \(first.readableBytes) "))
        #expect(lines[2].hasSuffix(" isvalid: true"))
        #expect(lines[3].contains(" position: \(first.readableBytes) "))
        #expect(lines[3].contains(" compresscodec: zstd "))
    }

    @Test func deepDumpsPrintRecordsAndEscapeWhatIsNoText() throws {
        let files = ["\(Self.name).log": log([batch(["a\u{1}\nb"], at: 100, compression: .lz4)])]
        let (lines, damages) = try dump(files, "\(Self.name).log", isDeep: true)
        #expect(damages == 0)
        #expect(
            lines.last == """
                | offset: 100 CreateTime: 1000 keySize: -1 valueSize: 4 headerKeys: [h] \
                payload: a\\u{1}\\u{a}b
                """)
    }

    @Test func aWrongChecksumIsReportedAndTheRestIsRead() throws {
        var first = batch(["a", "b"], at: 100)
        first.setInteger(UInt8(0xff), at: first.readableBytes - 3)
        let files = ["\(Self.name).log": log([first, batch(["c"], at: 102)])]
        let (lines, damages) = try dump(files, "\(Self.name).log")
        #expect(damages == 1)
        #expect(lines[2].hasSuffix(" isvalid: false"))
        #expect(lines[3] == "DAMAGED: the checksum of the batch at position 0 is wrong")
        #expect(lines[4].hasPrefix("baseOffset: 102 "))
    }

    @Test(arguments: [1, 60, 61, 70])
    func aTornTailIsReported(_ size: Int) throws {
        let whole = batch(["a"], at: 100)
        let torn = batch(["b"], at: 101).getSlice(at: 0, length: size) ?? ByteBuffer()
        let (lines, damages) = try dump(
            ["\(Self.name).log": log([whole, torn])], "\(Self.name).log")
        #expect(damages == 1)
        let last = try #require(lines.last)
        #expect(last.hasPrefix("DAMAGED: \(size) bytes from position \(whole.readableBytes)"))
    }

    @Test func offsetsThatGoBackAreReported() throws {
        let files = ["\(Self.name).log": log([batch(["a", "b"], at: 100), batch(["c"], at: 101)])]
        #expect(try dump(files, "\(Self.name).log").damages == 1)
    }

    @Test func anOffsetIndexIsHeldAgainstItsLog() throws {
        let first = batch(["a", "b"], at: 100)
        let records = log([first, batch(["c"], at: 102)])
        let second = Int32(first.readableBytes)
        func damages(_ entries: [(relative: Int32, position: Int32)]) throws -> Int {
            let files = ["\(Self.name).log": records, "\(Self.name).index": index(entries)]
            return try dump(files, "\(Self.name).index").damages
        }
        #expect(try damages([(2, second)]) == 0)
        #expect(try damages([(1, 0), (2, second), (0, 0), (0, 0)]) == 0)
        #expect(try damages([(2, 0)]) == 1)
        #expect(try damages([(2, second + 1)]) == 1)
        #expect(try damages([(2, second), (1, 0)]) == 1)
        #expect(try damages([(2, Int32.max)]) == 1)
    }

    @Test func aTimeIndexHasToGrow() throws {
        func damages(_ entries: [(Int64, Int32)], extra: Int = 0) throws -> Int {
            var bytes = entries.reduce(into: ByteBuffer()) {
                $0.writeInteger($1.0)
                $0.writeInteger($1.1)
            }
            bytes.writeRepeatingByte(1, count: extra)
            return try dump(["\(Self.name).timeindex": bytes], "\(Self.name).timeindex").damages
        }
        #expect(try damages([(1000, 1), (1000, 2), (2000, 3), (0, 0)]) == 0)
        #expect(try damages([(1000, 1), (999, 2)]) == 1)
        #expect(try damages([(1000, 5), (2000, 4)]) == 1)
        #expect(try damages([(1000, 1)], extra: 5) == 1)
    }

    @Test func hostileHeadsAreReportedAndNeverTrap() throws {
        for length: Int32 in [.min, -1, 0, 48, .max] {
            var bytes = batch(["a"], at: .max)
            bytes.setInteger(length, at: 8)
            #expect(
                try dump(["\(Self.name).log": bytes], "\(Self.name).log", isDeep: true).damages > 0)
        }
        var far = batch(["a"], at: .max)
        far.setInteger(Int32.max, at: 23)
        let (_, damages) = try dump(["\(Self.name).log": far], "\(Self.name).log", isDeep: true)
        #expect(damages > 0)
    }

    @Test func otherFilesAreRefused() {
        #expect(throws: ClientError(.invalidArgument, "")) {
            try dump(["notes.txt": ByteBuffer(string: "x")], "notes.txt")
        }
        #expect(throws: ClientError(.invalidArgument, "")) { try dump([:], "missing.log") }
    }
}
