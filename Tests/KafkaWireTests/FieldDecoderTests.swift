// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: what the decoder does with bytes that are wrong or unusual.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct FieldDecoderTests {
    private func failure<Message: KafkaMessage>(
        _ type: Message.Type, _ version: Int16, _ bytes: [UInt8]
    ) -> WireError.Kind? {
        do {
            var buffer = ByteBuffer(bytes: bytes)
            _ = try Message(from: &buffer, version: version)
            return nil
        } catch {
            return error.kind
        }
    }

    @Test func aCountThatTheRestCannotHoldIsRefusedBeforeItIsReservedFor() {
        // DeleteGroups v0: an array of strings.
        #expect(
            failure(DeleteGroupsRequest.self, 0, [0x7f, 0xff, 0xff, 0xff, 0, 0])
                == .countTooLarge(count: Int(Int32.max), remaining: 2))
        // v2: compact, the count is 2^32 - 2.
        #expect(
            failure(DeleteGroupsRequest.self, 2, [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0])
                == .countTooLarge(count: Int(UInt32.max) - 1, remaining: 2))
    }

    @Test func anArrayOfIntegersIsRefusedBeforeItIsReservedFor() {
        // Metadata response v0: no brokers, a topic, a partition, eight replica nodes in 12 bytes.
        let bytes: [UInt8] =
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x74, 0, 0, 0, 1, 0, 0] + [0, 0, 0, 0, 0, 0, 0, 0]
            + [0, 0, 0, 8] + [UInt8](repeating: 0, count: 12)
        #expect(
            failure(MetadataResponse.self, 0, bytes) == .truncated(needed: 32, remaining: 12))
    }

    @Test func noMoreThanFourTimesTheBytesLeftIsReserved() {
        #expect(FieldDecoder.reservation(10, stride: 56, remaining: 1000) == 10)
        #expect(FieldDecoder.reservation(1000, stride: 56, remaining: 1000) * 56 <= 4056)
        #expect(FieldDecoder.reservation(0, stride: 16, remaining: 0) == 0)
        #expect(FieldDecoder.reservation(5, stride: 16, remaining: 0) == 1)
    }

    @Test func lengthsBelowMinusOneAreRefused() {
        #expect(
            failure(DeleteGroupsRequest.self, 0, [0xff, 0xff, 0xff, 0xfe]) == .negativeLength(-2))
        #expect(
            failure(DeleteGroupsRequest.self, 0, [0, 0, 0, 1, 0x80, 0]) == .negativeLength(-32768))
    }

    @Test func nullIsRefusedWhereTheVersionHasNone() {
        #expect(failure(DeleteGroupsRequest.self, 0, [0xff, 0xff, 0xff, 0xff]) == .nullNotAllowed)
        #expect(failure(DeleteGroupsRequest.self, 0, [0, 0, 0, 1, 0xff, 0xff]) == .nullNotAllowed)
        #expect(failure(DeleteGroupsRequest.self, 2, [0, 0]) == .nullNotAllowed)
        #expect(failure(MetadataRequest.self, 0, [0xff, 0xff, 0xff, 0xff]) == .nullNotAllowed)
        #expect(failure(MetadataRequest.self, 1, [0xff, 0xff, 0xff, 0xff]) == nil)
    }

    @Test func anyNegativeByteIsANullStructure() throws {
        // DescribeTopicPartitions v0: no topics, a limit of 0, the cursor, no tags.
        func cursor(_ bytes: [UInt8]) throws -> DescribeTopicPartitionsRequest.Cursor? {
            var buffer = ByteBuffer(bytes: [1, 0, 0, 0, 0] + bytes)
            let request = try DescribeTopicPartitionsRequest(from: &buffer, version: 0)
            #expect(buffer.readableBytes == 0)
            return request.cursor
        }
        #expect(try cursor([0xff, 0]) == nil)
        #expect(try cursor([0x80, 0]) == nil)
        var expected = DescribeTopicPartitionsRequest.Cursor()
        expected.topicName = "t"
        expected.partitionIndex = 3
        #expect(try cursor([1, 2, 0x74, 0, 0, 0, 3, 0, 0]) == expected)
        #expect(try cursor([0, 2, 0x74, 0, 0, 0, 3, 0, 0]) == expected)
    }

    @Test func anArrayOfLongIntegersIsRefusedBeforeItIsReservedFor() {
        // ListTransactions v0: no states, nine producers in twelve bytes.
        #expect(
            failure(
                ListTransactionsRequest.self, 0,
                [1, 10] + [UInt8](repeating: 0, count: 12))
                == .truncated(needed: 72, remaining: 12))
    }

    @Test func aVarintIsAtMostFiveBytesAndThirtyTwoBits() {
        let overlong: [UInt8] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0, 0]
        #expect(failure(DeleteGroupsRequest.self, 2, overlong) == .malformedVarint)
        let overflowing: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0]
        #expect(failure(DeleteGroupsRequest.self, 2, overflowing) == .malformedVarint)
        // Not the shortest form, but within five bytes: two strings fewer one is an empty array.
        #expect(failure(DeleteGroupsRequest.self, 2, [0x81, 0x00, 0]) == nil)
    }

    @Test func unknownTagsAreSkippedWhereverTheyAre() throws {
        // ApiVersions v3: two empty strings, then tags 7 (3 bytes) and 300 (none).
        var buffer = ByteBuffer(bytes: [1, 1, 2, 7, 3, 1, 2, 3, 0xac, 0x02, 0])
        #expect(try ApiVersionsRequest(from: &buffer, version: 3) == ApiVersionsRequest())
        #expect(buffer.readableBytes == 0)
        // A structure with known tags: unknown ones before, between and after them.
        var response = ByteBuffer(
            bytes: [0, 0, 1, 0, 0, 0, 0, 5] + [9, 1, 0x55] + [1, 8, 0, 0, 0, 0, 0, 0, 0, 5]
                + [8, 0] + [3, 1, 1] + [200, 1, 2, 0, 0])
        let decoded = try ApiVersionsResponse(from: &response, version: 3)
        #expect(decoded.finalizedFeaturesEpoch == 5)
        #expect(decoded.zkMigrationReady)
        #expect(response.readableBytes == 0)
    }

    @Test func aKnownTagOfAnotherSizeThanItsFieldIsRefused() {
        let start: [UInt8] = [0, 0, 1, 0, 0, 0, 0, 1, 3]
        #expect(failure(ApiVersionsResponse.self, 3, start + [1, 1]) == nil)
        #expect(
            failure(ApiVersionsResponse.self, 3, start + [2, 1, 0])
                == .tagSizeMismatch(tag: 3, size: 2))
        #expect(
            failure(ApiVersionsResponse.self, 3, start + [0, 1])
                == .tagSizeMismatch(tag: 3, size: 0))
        #expect(
            failure(ApiVersionsResponse.self, 3, start + [9, 1])
                == .truncated(needed: 9, remaining: 1))
    }

    @Test func aHugeNumberOfTagsEndsWithTheBytes() {
        let bytes: [UInt8] = [1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 1, 0]
        #expect(
            failure(ApiVersionsRequest.self, 3, bytes) == .truncated(needed: 1, remaining: 0))
    }

    @Test func illFormedTextIsRepaired() throws {
        var buffer = ByteBuffer(bytes: [0, 0, 0, 1, 0, 3, 0x61, 0xff, 0x62])
        let request = try DeleteGroupsRequest(from: &buffer, version: 0)
        #expect(request.groupsNames == ["a\u{FFFD}b"])
    }

    @Test func recordsAreSlicesOfTheReceivedBytesAndOtherBytesAreCopies() throws {
        var produce = ProduceRequest()
        var topic = ProduceRequest.Topic()
        topic.partitions = [.init(index: 1, records: ByteBuffer(repeating: 7, count: 1000))]
        produce.topics = [topic]
        var received = ByteBuffer(string: "a frame before it")
        received.moveReaderIndex(forwardBy: received.readableBytes)
        try produce.encode(into: &received, version: 9)
        let capacity = received.capacity
        let decoded = try ProduceRequest(from: &received, version: 9)
        let records = try #require(decoded.topics.first?.partitions.first?.records)
        #expect(records == ByteBuffer(repeating: 7, count: 1000))
        #expect(records.storageCapacity >= capacity)

        var join = JoinGroupRequest()
        var supported = JoinGroupRequest.SupportedProtocol()
        supported.metadata = ByteBuffer(string: "subscription")
        join.protocols = [supported]
        var bytes = ByteBuffer()
        bytes.reserveCapacity(100_000)
        try join.encode(into: &bytes, version: 5)
        let metadata = try JoinGroupRequest(from: &bytes, version: 5).protocols[0].metadata
        #expect(metadata == supported.metadata)
        #expect(metadata.storageCapacity < 1000)
    }

    @Test func whatFollowsTheMessageIsLeftInTheBuffer() throws {
        var buffer = ByteBuffer(bytes: [0, 0, 0, 0, 0xaa, 0xbb])
        _ = try DeleteGroupsRequest(from: &buffer, version: 0)
        #expect(buffer == ByteBuffer(bytes: [0xaa, 0xbb]))
    }

    @Test func anErrorNamesTheMessageTheByteAndTheCauseAndLeavesTheBuffer() throws {
        var buffer = ByteBuffer(bytes: [0, 0, 0, 1, 0, 9, 0x61])
        do {
            _ = try DeleteGroupsRequest(from: &buffer, version: 0)
            Issue.record("decoded")
        } catch {
            #expect(
                "\(error)"
                    == "DeleteGroupsRequest, byte 6: the field needs 9 bytes and 1 are left")
        }
        #expect(buffer.readableBytes == 7)
    }
}
