// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: frames, whole and in segments.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct FrameTests {
    /// Two topics with the partitions' records given.
    private func response(_ records: [FetchResponse.Records]) -> FetchResponse {
        var response = FetchResponse()
        for (index, records) in records.enumerated() {
            if index % 2 == 0 { response.topics.append(FetchResponse.Topic()) }
            var partition = FetchResponse.Partition()
            partition.partitionIndex = Int32(index)
            partition.records = records
            response.topics[index / 2].topic = "topic-\(index / 2)"
            response.topics[index / 2].partitions.append(partition)
        }
        return response
    }

    @Test func aRequestFrameIsLengthHeaderAndBody() throws {
        var buffer = ByteBuffer(string: "before")
        var request = ListGroupsRequest()
        request.statesFilter = ["Stable"]
        try Frame.write(request, version: 4, correlationId: 9, clientId: "c", into: &buffer)
        buffer.moveReaderIndex(forwardBy: 6)
        let length: Int32? = buffer.readInteger()
        #expect(length == Int32(buffer.readableBytes))
        let header = try RequestHeader(from: &buffer)
        #expect(header.apiKey == ApiKey.listGroups.rawValue)
        #expect(header.correlationId == 9)
        #expect(try ListGroupsRequest(from: &buffer, version: 4) == request)
        #expect(buffer.readableBytes == 0)
    }

    @Test func aResponseFrameIsLengthHeaderAndBody() throws {
        var buffer = ByteBuffer()
        var response = HeartbeatResponse()
        response.errorCode = .rebalanceInProgress
        try Frame.write(response, version: 4, correlationId: 5, into: &buffer)
        #expect(buffer == ByteBuffer(bytes: [0, 0, 0, 12, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 27, 0]))
    }

    @Test func aFrameThatCannotBeEncodedLeavesTheBufferAsItWas() {
        var buffer = ByteBuffer(string: "before")
        var request = HeartbeatRequest()
        request.groupId = String(repeating: "g", count: 40_000)
        #expect(throws: WireError.self) {
            try Frame.write(request, version: 3, correlationId: 1, clientId: nil, into: &buffer)
        }
        #expect(String(buffer: buffer) == "before")
    }

    @Test(arguments: Array(ApiTable.entry(.fetch).versions))
    func segmentsWithTheirHolesFilledAreTheFrameWithInlineRecords(version: Int16) throws {
        let payloads = ["first", "", "third is longer", "4"].map { ByteBuffer(string: $0) }
        var inline = ByteBuffer()
        try Frame.write(
            response(payloads.map { .bytes($0) }), version: version, correlationId: 77,
            into: &inline)

        var buffer = ByteBuffer(string: "what was there before")
        let segments = try Frame.segments(
            response(payloads.map { .external(length: $0.readableBytes) }), version: version,
            correlationId: 77, into: &buffer)
        var joined = ByteBuffer()
        var left = payloads.filter { $0.readableBytes > 0 }
        for segment in segments {
            switch segment {
            case .bytes(var bytes):
                #expect(bytes.readableBytes > 0)
                joined.writeBuffer(&bytes)
            case .external(let length):
                var payload = left.removeFirst()
                #expect(payload.readableBytes == length)
                joined.writeBuffer(&payload)
            }
        }
        #expect(left.isEmpty)
        #expect(joined == inline)
    }

    @Test(arguments: Array(ApiTable.entry(.shareFetch).versions))
    func aShareFetchResponseLeavesItsRecordsOutLikewise(version: Int16) throws {
        func response(_ records: FetchResponse.Records) -> ShareFetchResponse {
            var partition = ShareFetchResponse.Partition()
            partition.records = records
            partition.acquiredRecords = [ShareFetchResponse.AcquiredRange()]
            var topic = ShareFetchResponse.Topic()
            topic.partitions = [partition]
            var response = ShareFetchResponse()
            response.responses = [topic]
            return response
        }
        var inline = ByteBuffer()
        try Frame.write(
            response(.bytes(ByteBuffer(string: "records"))), version: version, correlationId: 7,
            into: &inline)
        var buffer = ByteBuffer()
        let segments = try Frame.segments(
            response(.external(length: 7)), version: version, correlationId: 7, into: &buffer)
        try #require(segments.count == 3)
        guard case .bytes(let front) = segments[0], case .bytes(let back) = segments[2] else {
            Issue.record("\(segments)")
            return
        }
        #expect(segments[1] == .external(length: 7))
        var joined = front
        joined.writeString("records")
        joined.writeImmutableBuffer(back)
        #expect(joined == inline)
    }

    @Test func aResponseWithoutExternalRecordsIsOneSegment() throws {
        var buffer = ByteBuffer()
        let inline = response([.bytes(ByteBuffer(string: "x")), .none])
        let segments = try Frame.segments(inline, version: 12, correlationId: 1, into: &buffer)
        var whole = ByteBuffer()
        try Frame.write(inline, version: 12, correlationId: 1, into: &whole)
        #expect(segments == [.bytes(whole)])
    }

    @Test func theLengthOfAFrameInSegmentsCountsTheHoles() throws {
        var buffer = ByteBuffer()
        let segments = try Frame.segments(
            response([.external(length: 1 << 30)]), version: 11, correlationId: 1, into: &buffer)
        let pieces = segments.reduce(0) { sum, segment in
            guard case .bytes(let bytes) = segment else { return sum }
            return sum + bytes.readableBytes
        }
        #expect(buffer.getInteger(at: 0, as: Int32.self) == Int32(pieces - 4 + (1 << 30)))
    }

    @Test func aFrameTooLongForItsLengthFieldIsAnError() {
        var buffer = ByteBuffer()
        let large = FetchResponse.Records.external(length: Int(Int32.max))
        #expect(throws: WireError.self) {
            try Frame.segments(
                response([large, large]), version: 11, correlationId: 1, into: &buffer)
        }
        #expect(buffer.readableBytes == 0)
    }

    @Test func externalRecordsCannotBeEncodedWithoutSegments() {
        var buffer = ByteBuffer()
        #expect {
            try response([.external(length: 5)]).encode(into: &buffer, version: 11)
        } throws: { ($0 as? WireError)?.kind == .externalRecords }
        #expect(buffer.readableBytes == 0)
    }
}
