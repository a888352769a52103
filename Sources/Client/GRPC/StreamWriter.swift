// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: writes records to a topic over one PublishStream, many requests on their way at once.
//
// Owned by one thread that may wait. Records are collected into requests; at most `requestsInFlight` of these wait for their
// results, so memory is bounded by their size times that.

import Contract
import FoundationEssentials
import NIOCore
import Records
import SwiftProtobuf

package final class StreamWriter: RecordWriter {
    private let client: GRPCClient
    private let topic: String
    private let partition: Int32?
    private let batchBytes: Int
    private let exchange: GRPCExchange<Martlet_V1_PublishStreamResponse>
    private var request = Martlet_V1_PublishStreamRequest()
    private var requestBytes = 0
    /// Records of the requests without a result, in order.
    private var inFlight = CircularBuffer<Int>()
    package private(set) var written: Int64 = 0
    private static let requestsInFlight = 16
    private static let recordsPerRequest = 10_000

    package init(
        client: GRPCClient, topic: String, partition: Int32? = nil, batchBytes: Int = 64 * 1024
    ) throws(ClientError) {
        self.client = client
        self.topic = topic
        self.partition = partition
        self.batchBytes = batchBytes
        exchange = try client.open(GRPCClient.publishStreamPath)
    }

    package func write(
        key: ByteBuffer?, value: ByteBuffer?, headers: [RecordHeader], timestamp: Int64
    ) throws(ClientError) {
        request.records.append(
            .with {
                if let key { $0.key = .init(key.readableBytesView) }
                if let value { $0.value = .init(value.readableBytesView) }
                $0.headers = headers.map { header in
                    .with {
                        $0.key = header.key
                        if let value = header.value { $0.value = .init(value.readableBytesView) }
                    }
                }
                $0.timestampMs = timestamp
            })
        requestBytes += (key?.readableBytes ?? 0) + (value?.readableBytes ?? 0) + 16
        if requestBytes >= batchBytes || request.records.count >= Self.recordsPerRequest { try send() }
    }

    package func finish() throws(ClientError) {
        try send()
        while !inFlight.isEmpty { try takeResults() }
    }

    private func send() throws(ClientError) {
        guard !request.records.isEmpty else { return }
        while inFlight.count >= Self.requestsInFlight { try takeResults() }
        request.topic = topic
        if let partition { request.partition = partition }
        try exchange.send(request)
        inFlight.append(request.records.count)
        request = Martlet_V1_PublishStreamRequest()
        requestBytes = 0
    }

    private func takeResults() throws(ClientError) {
        guard let response = try exchange.next() else {
            throw ClientError(.badAnswer, "\(client.options.endpoint) ended the stream before all results were there")
        }
        for result in response.results {
            guard let count = inFlight.popFirst() else {
                throw ClientError(.badAnswer, "\(client.options.endpoint) sent more results than there were requests")
            }
            guard !result.hasError else { throw ClientError(.refused, "\(result.error.message) [\(result.error.reason)]") }
            written += Int64(count)
        }
    }
}
