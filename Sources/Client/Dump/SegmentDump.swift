// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: prints what a segment's files hold, and finds damage in them.
//
// For the files of a segment, of Martlet and of Kafka alike; lines are those of Kafka's own dump tool
// (kafka.tools.DumpLogSegments), so that scripts read both. One batch is in memory at a time. Damage is printed where it is found
// and counted; after a batch whose length makes no sense the rest of the file cannot be read and is
// reported as a whole.

import NIOCore
import Records

/// Prints segment files.
package struct SegmentDump {
    /// What is printed beyond batches and index entries.
    package struct Options: Sendable {
        /// A line for every record.
        package var printsRecords = false
        /// Keys and values with it.
        package var printsContents = false
        /// Keys and values are those of `__consumer_offsets`.
        package var decodesOffsets = false
        /// Indexes are checked, and their entries not printed.
        package var onlyVerifiesIndexes = false

        package init() {}
    }

    package var options: Options
    private let sink: (String) -> Bool
    /// The sink wants no more.
    private(set) var isStopped = false
    private let decompressor = Decompressor()
    package private(set) var damageCount = 0
    private static let batchBytesMax = 512 << 20
    private static let textBytesMax = 4096

    /// - Parameter sink: gets one line at a time, without its end, and answers whether to go on.
    package init(_ options: Options, sink: @escaping (String) -> Bool) {
        self.options = options
        self.sink = sink
    }

    /// Prints one file, by the end of its name.
    package mutating func dump(_ path: String) throws(ClientError) {
        let file = try ReadOnlyFile(path)
        print("Dumping \(path)")
        if path.hasSuffix(".log") {
            try dumpLog(file)
        } else if path.hasSuffix(".timeindex") {
            try dumpTimeIndex(file)
        } else if path.hasSuffix(".index") {
            try dumpOffsetIndex(file)
        } else if path.hasSuffix(".snapshot") {
            try dumpSnapshot(file)
        } else if path.hasSuffix(".txnindex") {
            try dumpTransactionIndex(file)
        } else {
            throw ClientError(
                .invalidArgument,
                "\(path): the name ends in none of .log, .index, .timeindex, .snapshot, .txnindex")
        }
    }

    mutating func print(_ line: String) {
        if !isStopped { isStopped = !sink(line) }
    }

    mutating func damage(_ text: String) {
        damageCount += 1
        print("DAMAGED: \(text)")
    }

    // MARK: Logs

    private mutating func dumpLog(_ file: ReadOnlyFile) throws(ClientError) {
        if let base = Self.baseOffset(file.path) { print("Log starting offset: \(base)") }
        var position = 0
        var expected: Int64?
        while position < file.size && !isStopped {
            guard let header = BatchHeader(try file.read(BatchHeader.size, at: position)) else {
                return damage(rest(file, position, "too few for a batch's head"))
            }
            let size = header.sizeInBytes
            guard header.magic == 2, (BatchHeader.size...Self.batchBytesMax).contains(size) else {
                return damage(
                    rest(file, position, "no batch: magic \(header.magic), length \(size)"))
            }
            guard size <= file.size - position else {
                return damage(rest(file, position, "a batch of \(size) bytes, cut short"))
            }
            if let expected, header.baseOffset < expected {
                damage(
                    "offset \(header.baseOffset) at position \(position) follows \(expected - 1)")
            }
            expected = header.nextOffset
            dump(header, try file.read(size, at: position), position)
            position += size
        }
    }

    private func rest(_ file: ReadOnlyFile, _ position: Int, _ what: String) -> String {
        "\(file.size - position) bytes from position \(position) to the end cannot be read: \(what)"
    }

    private mutating func dump(_ header: BatchHeader, _ batch: ByteBuffer, _ position: Int) {
        let isValid = BatchBytes.isCRCValid(batch, header: header)
        print(Self.line(header, position, isValid: isValid))
        if !isValid { damage("the checksum of the batch at position \(position) is wrong") }
        guard options.printsRecords || options.printsContents else { return }
        do throws(RecordError) {
            var reader = try RecordBatchReader(batch, decompressor: decompressor)
            while !isStopped, let record = try reader.next() { print(line(record, header)) }
        } catch {
            damage("the records of the batch at position \(position): \(error.message)")
        }
    }

    private static func line(_ header: BatchHeader, _ position: Int, isValid: Bool) -> String {
        let lastSequence = sequence(header, delta: Int64(header.lastOffsetDelta))
        let codec = header.compression.map { "\($0)" } ?? "unknown(\(header.attributes & 7))"
        return """
            baseOffset: \(header.baseOffset) lastOffset: \(header.lastOffset) \
            count: \(header.recordCount) baseSequence: \(header.baseSequence) \
            lastSequence: \(lastSequence) producerId: \(header.producerId) \
            producerEpoch: \(header.producerEpoch) \
            partitionLeaderEpoch: \(header.partitionLeaderEpoch) \
            isTransactional: \(header.isTransactional) isControl: \(header.isControl) \
            deleteHorizonMs: \(deleteHorizon(header)) position: \(position) \(timeName(header)): \(header.maxTimestamp) \
            size: \(header.sizeInBytes) magic: \(header.magic) compresscodec: \(codec) \
            crc: \(header.crc) isvalid: \(isValid)
            """
    }

    /// Set by compaction: the batch's base timestamp is when its tombstones may go (KIP-534).
    private static func deleteHorizon(_ header: BatchHeader) -> String {
        header.attributes & 0x40 != 0 ? "OptionalLong[\(header.baseTimestamp)]" : "OptionalLong.empty"
    }

    private func line(_ record: Record, _ header: BatchHeader) -> String {
        let names = record.headers.map { Self.printable($0.key) }.joined(separator: ",")
        var line = """
            | offset: \(record.offset) \(Self.timeName(header)): \(record.timestamp) \
            keySize: \(record.key?.readableBytes ?? -1) \
            valueSize: \(record.value?.readableBytes ?? -1) \
            sequence: \(Self.sequence(header, delta: record.offset &- header.baseOffset)) headerKeys: [\(names)]
            """
        if header.isControl { return line + Self.controlText(record) }
        guard options.printsContents else { return line }
        if options.decodesOffsets {
            let (key, payload) = OffsetsDecoder.texts(record)
            return line + " key: \(key)" + (payload.map { " payload: \($0)" } ?? "")
        }
        if let key = record.key { line += " key: \(Self.printable(key))" }
        if let value = record.value { line += " payload: \(Self.printable(value))" }
        return line
    }

    /// Sequence numbers wrap from the largest Int32 to 0.
    private static func sequence(_ header: BatchHeader, delta: Int64) -> Int64 {
        guard header.baseSequence >= 0 else { return -1 }
        let sequence = Int64(header.baseSequence) &+ delta
        return sequence > Int64(Int32.max) ? sequence - Int64(Int32.max) - 1 : sequence
    }

    /// A control record: its key says what happened, the value of a transaction's end who said so.
    private static func controlText(_ record: Record) -> String {
        var key = record.key ?? ByteBuffer()
        guard let _: Int16 = key.readInteger(), let type: Int16 = key.readInteger() else { return "" }
        var value = record.value ?? ByteBuffer()
        guard type == 0 || type == 1, let _: Int16 = value.readInteger(),
            let epoch: Int32 = value.readInteger()
        else { return " controlType: UNKNOWN(\(type))" }
        return " endTxnMarker: \(type == 0 ? "ABORT" : "COMMIT") coordinatorEpoch: \(epoch)"
    }

    private static func timeName(_ header: BatchHeader) -> String {
        header.isLogAppendTime ? "LogAppendTime" : "CreateTime"
    }

    /// Text as it is, control characters and bytes that are no text escaped, long ones cut.
    private static func printable(_ bytes: ByteBuffer) -> String {
        let shown = bytes.getSlice(
            at: bytes.readerIndex, length: min(bytes.readableBytes, textBytesMax))
        let text = printable(String(buffer: shown ?? ByteBuffer()))
        let left = bytes.readableBytes - textBytesMax
        return left > 0 ? "\(text)... (\(left) bytes more)" : text
    }

    private static func printable(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            if scalar.value < 32 || scalar.value == 127 {
                escaped += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    // MARK: Indexes

    private mutating func dumpOffsetIndex(_ file: ReadOnlyFile) throws(ClientError) {
        let base = Self.baseOffset(file.path) ?? 0
        let log = try? ReadOnlyFile(String(file.path.dropLast(".index".count)) + ".log")
        var last: (offset: Int64, position: Int)?
        try forEachEntry(of: file, size: 8) { (dump, entry) throws(ClientError) in
            var entry = entry
            guard let relative: Int32 = entry.readInteger(), let place: Int32 = entry.readInteger()
            else { return false }
            let offset = base &+ Int64(relative)
            // An index is made large and filled as it goes: zeros after the first entry are its
            // end.
            if relative == 0 && place == 0 && last != nil { return false }
            if !dump.options.onlyVerifiesIndexes { dump.print("offset: \(offset) position: \(place)") }
            if let last, offset <= last.offset || Int(place) <= last.position {
                dump.damage(
                    "offset \(offset) at \(place) follows \(last.offset) at \(last.position)")
            }
            if let log { try dump.check(offset, at: Int(place), in: log) }
            last = (offset, Int(place))
            return true
        }
    }

    /// An index says that the batch at this position holds the offset.
    private mutating func check(
        _ offset: Int64, at position: Int, in log: ReadOnlyFile
    ) throws(ClientError) {
        guard position >= 0, let header = BatchHeader(try log.read(BatchHeader.size, at: position)),
            header.magic == 2, header.baseOffset <= offset, offset <= header.lastOffset
        else {
            return damage("the log has no batch with offset \(offset) at position \(position)")
        }
    }

    private mutating func dumpTimeIndex(_ file: ReadOnlyFile) throws(ClientError) {
        let base = Self.baseOffset(file.path) ?? 0
        var last: (timestamp: Int64, offset: Int64)?
        try forEachEntry(of: file, size: 12) { (dump, entry) throws(ClientError) in
            var entry = entry
            guard let timestamp: Int64 = entry.readInteger(),
                let relative: Int32 = entry.readInteger()
            else { return false }
            let offset = base &+ Int64(relative)
            if timestamp == 0 && relative == 0 && last != nil { return false }
            if !dump.options.onlyVerifiesIndexes { dump.print("timestamp: \(timestamp) offset: \(offset)") }
            if let last, timestamp < last.timestamp || offset < last.offset {
                dump.damage(
                    """
                    timestamp \(timestamp) and offset \(offset) follow \(last.timestamp) and \
                    \(last.offset)
                    """
                )
            }
            last = (timestamp, offset)
            return true
        }
    }

    mutating func forEachEntry(
        of file: ReadOnlyFile, size: Int,
        _ body: (inout SegmentDump, ByteBuffer) throws(ClientError) -> Bool
    ) throws(ClientError) {
        let chunk = size * 8192
        if file.size == 0 { print("\(file.path) is empty.") }
        for start in stride(from: 0, to: file.size, by: chunk) {
            var entries = try file.read(chunk, at: start)
            while let entry = entries.readSlice(length: size) {
                guard !isStopped, try body(&self, entry) else { return }
            }
            if entries.readableBytes > 0 {
                damage("the last entry has \(entries.readableBytes) of \(size) bytes")
            }
        }
    }

    /// The base offset in a segment file's name.
    private static func baseOffset(_ path: String) -> Int64? {
        let name = path.split(separator: "/").last ?? ""
        return Int64(name.prefix { $0 != "." })
    }
}
