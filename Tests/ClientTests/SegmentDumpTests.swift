// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: what is printed of segment files, and which damage is found.

import Bytes
import Glibc
import NIOCore
import Records
import Testing

@testable import Client

@Suite struct SegmentDumpTests {
    private static let name = "00000000000000000100"

    /// Writes files into a directory of their own and dumps one of them.
    private func dump(
        _ files: [String: ByteBuffer], _ shown: String, isDeep: Bool = false,
        _ change: (inout SegmentDump.Options) -> Void = { _ in }
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
        var options = SegmentDump.Options()
        options.printsContents = isDeep
        change(&options)
        var dump = SegmentDump(options) { line in
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
                | offset: 100 CreateTime: 1000 keySize: -1 valueSize: 4 sequence: -1 headerKeys: [h] \
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

    // MARK: As Kafka's tool prints it (kafka.tools.DumpLogSegments of Kafka 4.0)

    private func bytes(_ write: (inout ByteBuffer) -> Void) -> ByteBuffer {
        var buffer = ByteBuffer()
        write(&buffer)
        return buffer
    }

    @Test func aBatchAndItsRecordsAreTheLinesOfKafkasTool() throws {
        var builder = RecordBatchBuilder(
            producer: RecordBatchBuilder.Producer(id: 4711, epoch: 2, baseSequence: .max))
        builder.append(key: ByteBuffer(string: "k"), value: ByteBuffer(string: "v"), timestamp: 1_700_000_000_000)
        builder.append(key: nil, value: nil, timestamp: 1_700_000_000_001)
        let batch = builder.finish(baseOffset: 100, leaderEpoch: 0)
        let header = try #require(BatchHeader(batch))
        let name = "\(Self.name).log"
        let head = """
            baseOffset: 100 lastOffset: 101 count: 2 baseSequence: 2147483647 lastSequence: 0 producerId: 4711 \
            producerEpoch: 2 partitionLeaderEpoch: 0 isTransactional: false isControl: false \
            deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: 1700000000001 size: \(batch.readableBytes) \
            magic: 2 compresscodec: none crc: \(header.crc) isvalid: true
            """
        let first = "| offset: 100 CreateTime: 1700000000000 keySize: 1 valueSize: 1 sequence: 2147483647 headerKeys: []"
        let second = "| offset: 101 CreateTime: 1700000000001 keySize: -1 valueSize: -1 sequence: 0 headerKeys: []"
        #expect(try dump([name: batch], name).lines.dropFirst() == ["Log starting offset: 100", head])
        let shallow = try dump([name: batch], name) { $0.printsRecords = true }
        #expect(shallow.lines.dropFirst(2) == [head, first, second])
        let deep = try dump([name: batch], name, isDeep: true)
        #expect(deep.lines.dropFirst(2) == [head, first + " key: k payload: v", second])
    }

    @Test func theEndOfATransactionIsNamed() throws {
        for (type, word) in [(Int16(0), "ABORT"), (1, "COMMIT")] {
            var builder = RecordBatchBuilder()
            builder.append(
                key: bytes { $0.writeMultipleIntegers(Int16(0), type) },
                value: bytes { $0.writeMultipleIntegers(Int16(0), Int32(7)) }, timestamp: 5)
            var batch = builder.finish(baseOffset: 9, leaderEpoch: 0)
            batch.setInteger(Int16(0x30), at: 21)
            let name = "\(Self.name).log"
            let lines = try dump([name: batch], name, isDeep: true).lines
            #expect(lines.contains { $0.contains(" isTransactional: true isControl: true ") })
            #expect(lines.contains {
                $0 == "| offset: 9 CreateTime: 5 keySize: 4 valueSize: 6 sequence: -1 headerKeys: []"
                    + " endTxnMarker: \(word) coordinatorEpoch: 7"
            })
        }
    }

    @Test func committedOffsetsAreDecoded() throws {
        func string(_ text: String, _ buffer: inout ByteBuffer) {
            buffer.writeInteger(Int16(text.utf8.count))
            buffer.writeString(text)
        }
        let key = bytes {
            $0.writeInteger(Int16(1))
            string("g\"1", &$0)
            string("orders", &$0)
            $0.writeInteger(Int32(3))
        }
        let value = bytes {
            $0.writeMultipleIntegers(Int16(3), Int64(42), Int32(-1))
            string("note", &$0)
            $0.writeInteger(Int64(1_700_000_000_000))
        }
        var builder = RecordBatchBuilder()
        builder.append(key: key, value: value, timestamp: 1)
        builder.append(key: key, value: nil, timestamp: 1)
        builder.append(key: bytes { $0.writeMultipleIntegers(Int16(2), Int16(0)) }, value: nil, timestamp: 1)
        let name = "\(Self.name).log"
        let lines = try dump([name: builder.finish(baseOffset: 0, leaderEpoch: 0)], name) {
            $0.printsContents = true
            $0.decodesOffsets = true
        }.lines
        let decoded = #" key: {"type":"1","data":{"group":"g\"1","topic":"orders","partition":3}} payload: "#
        #expect(lines[3].hasSuffix(
            decoded + #"{"version":"3","data":{"offset":42,"leaderEpoch":-1,"metadata":"note","#
                + #""commitTimestamp":1700000000000}}"#))
        #expect(lines[4].hasSuffix(decoded + "<DELETE>"))
        #expect(lines[5].hasSuffix(" key: Unknown record type 2 at offset 2, skipping."))
    }

    @Test func aProducerSnapshotIsPrintedAndChecked() throws {
        let body = bytes {
            $0.writeMultipleIntegers(Int32(2), Int64(1000), Int16(1), Int32(4), Int64(10), Int32(4), Int64(17), Int32(-1), Int64(-1))
            $0.writeMultipleIntegers(Int64(1001), Int16(0), Int32(-1), Int64(-1), Int32(0), Int64(18), Int32(3), Int64(7))
        }
        let crc = unsafe body.withUnsafeReadableBytes { unsafe crc32c($0) }
        var snapshot = bytes { $0.writeMultipleIntegers(Int16(1), crc) }
        snapshot.writeImmutableBuffer(body)
        let name = "\(Self.name).snapshot"
        let (lines, damages) = try dump([name: snapshot], name)
        #expect(damages == 0)
        #expect(lines.dropFirst() == [
            "producerId: 1000 producerEpoch: 1 coordinatorEpoch: -1 currentTxnFirstOffset: OptionalLong.empty"
                + " lastTimestamp: 17 firstSequence: 0 lastSequence: 4 lastOffset: 10 offsetDelta: 4 timestamp: 17",
            "producerId: 1001 producerEpoch: 0 coordinatorEpoch: 3 currentTxnFirstOffset: OptionalLong[7] lastTimestamp: 18 ",
        ])
        snapshot.setInteger(UInt8(9), at: 20)
        #expect(try dump([name: snapshot], name).damages == 1)
        #expect(try dump([name: snapshot.getSlice(at: 0, length: 50)!], name).damages == 2)
    }

    @Test func aTransactionIndexIsPrinted() throws {
        let entry = bytes { $0.writeMultipleIntegers(Int16(0), Int64(7), Int64(10), Int64(20), Int64(5)) }
        let name = "\(Self.name).txnindex"
        let (lines, damages) = try dump([name: entry], name)
        #expect(lines.last == "version: 0 producerId: 7 firstOffset: 10 lastOffset: 20 lastStableOffset: 5")
        #expect(damages == 0)
    }

    @Test func indexesCanBeCheckedWithoutBeingPrinted() throws {
        let first = batch(["a", "b"], at: 100)
        let files = ["\(Self.name).log": first, "\(Self.name).index": index([(5, 0)])]
        let (lines, damages) = try dump(files, "\(Self.name).index") { $0.onlyVerifiesIndexes = true }
        #expect(damages == 1 && !lines.contains { $0.hasPrefix("offset:") })
        let empty = try dump(["\(Self.name).index": ByteBuffer()], "\(Self.name).index")
        #expect(empty.lines.last?.hasSuffix(".index is empty.") == true)
    }
}
