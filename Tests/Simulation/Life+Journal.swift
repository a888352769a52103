// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what must be true of requests that share batches.
//
// At any time: an acknowledged request is there, its records one after the other from the offset that its result named; a
// refused one is not; nothing is there twice; a request is there as a whole or not at all; and those of a stream are in the
// order in which they were sent.

import Engine
import NIOCore
import Records
import Storage

extension Life {
    func checkJournal() throws {
        guard journal.isThere, let broker else { return }
        guard let topic = broker.engine.topics.topic(named: Journal.topic) else {
            return violate("topics are as they were last acknowledged", "\(Journal.topic) is absent")
        }
        for index in 0..<Journal.partitions where violation == nil {
            guard let partition = topic.partition(index) else {
                return violate("topics are as they were last acknowledged", "\(Journal.topic)-\(index) is absent")
            }
            check(index, try journalValues(partition))
        }
    }

    private func check(_ partition: Int32, _ found: [(value: String, offset: Int64)]) {
        var offsets: [String: Int64] = [:]
        var sent = -1
        var last: [Int: Int] = [:]
        let order = Dictionary(uniqueKeysWithValues: journal.requests.enumerated().map { (ObjectIdentifier($1), $0) })
        for (value, offset) in found {
            guard let (request, index) = journal.find(value), request.partition == partition else {
                return violate("what is served was sent", "\(Journal.topic)-\(partition) has something at \(offset)")
            }
            if let known = offsets[value] {
                return violate("a record is stored once", "\(value.prefix(8)) is at \(known) and at \(offset)")
            }
            offsets[value] = offset
            sent = order[ObjectIdentifier(request)] ?? -1
            if let before = last[request.stream], before > sent {
                return violate("a stream's records are in its order", "\(value.prefix(8)) is behind request \(before)")
            }
            last[request.stream] = sent
            if index > 0, offsets[request.values[index - 1]] != offset - 1 {
                return violate("a request's records are together", "\(value.prefix(8)) at \(offset)")
            }
        }
        for request in journal.requests where request.partition == partition { check(request, offsets) }
    }

    private func check(_ request: JournalRequest, _ offsets: [String: Int64]) {
        let name = request.values[0].prefix(8)
        let seen = request.values.count { offsets[$0] != nil }
        switch request.fate {
        case .acknowledged(let offset):
            if offsets[request.values[0]] != offset || seen < request.values.count {
                violate(
                    "what was acknowledged is there",
                    "\(name) of stream \(request.stream) is not at \(offset) of partition \(request.partition), or not all of it")
            }
        case .refused:
            if seen > 0 { violate("what was refused is not there", "\(name) of stream \(request.stream)") }
        case .unknown:
            if seen > 0, seen < request.values.count {
                violate("a request is there as a whole or not at all", "\(name) of stream \(request.stream)")
            }
        }
    }

    /// All that is served of a partition.
    private func journalValues(_ partition: Partition) throws -> [(value: String, offset: Int64)] {
        var found: [(value: String, offset: Int64)] = []
        var next = partition.offsets.start
        while violation == nil, next < partition.offsets.highWatermark {
            do {
                guard let slice = try partition.read(from: next, maxBytes: pick([1, 400, 1 << 20])).slice else { break }
                var bytes = ByteBuffer()
                try slice.read(into: &bytes)
                while let header = BatchHeader(bytes), let batch = bytes.readSlice(length: header.sizeInBytes) {
                    next = header.nextOffset
                    var reader = try RecordBatchReader(batch, decompressor: decompressor)
                    while let record = try reader.next() {
                        found.append((record.value.map { String(buffer: $0) } ?? "", record.offset))
                    }
                }
            } catch {
                if disk.hasCrashed { throw Interrupted() }
                // What a loss of power took from the middle of what was not durable; if it was, the comparison misses it.
                guard let end = partition.endOfDamage(at: next) else {
                    violate("every offset can be read", "\(partition.name) at \(next): \(error)")
                    break
                }
                next = end
            }
        }
        return found
    }
}
