// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the trace that produced records belong to, from the header `traceparent` of the first record.
//
// Looked for only when a line about the request is written, so that records cost nothing that nobody reads. Bounded: the first
// record of a few batches, of what a small buffer takes when it is decompressed.

import KafkaWire
import NIOCore
import Records
import Telemetry

enum ProducedTrace {
    private static let batchesMax = 4
    private static let decompressedBytesMax = 1 << 20

    static func find(in topics: [ProduceRequest.Topic]) -> TraceContext? {
        let batches = topics.lazy.flatMap(\.partitions).compactMap(\.records).prefix(batchesMax)
        for batch in batches {
            if let trace = find(in: batch) { return trace }
        }
        return nil
    }

    /// What cannot be read has no trace; why it cannot be read is told elsewhere.
    private static func find(in batch: ByteBuffer) -> TraceContext? {
        guard var reader = try? RecordBatchReader(batch, decompressor: Decompressor(), limit: decompressedBytesMax),
            let record = try? reader.next(),
            let header = record.headers.first(where: { $0.key == TraceContext.headerName }), let value = header.value
        else { return nil }
        return TraceContext(value.readableBytesView)
    }
}
