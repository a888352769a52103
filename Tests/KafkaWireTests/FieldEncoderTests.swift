// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: what the encoder does with values that do not fit, and with buffers that
// have more or less room.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct FieldEncoderTests {
    private func failure(_ message: some KafkaMessage, _ version: Int16) -> WireError.Kind? {
        var buffer = ByteBuffer(string: "before")
        do {
            try message.encode(into: &buffer, version: version)
            return nil
        } catch {
            #expect(String(buffer: buffer) == "before")
            return error.kind
        }
    }

    @Test func aStringMustFitItsLengthField() throws {
        var request = DeleteGroupsRequest()
        request.groupsNames = [String(repeating: "g", count: 32768)]
        #expect(failure(request, 1) == .tooLong(32768))
        #expect(failure(request, 2) == nil)
        request.groupsNames = [String(repeating: "g", count: 32767)]
        #expect(failure(request, 1) == nil)
    }

    @Test func nullIsRefusedWhereTheVersionHasNone() {
        var response = JoinGroupResponse()
        response.protocolName = nil
        #expect(failure(response, 6) == .nullNotAllowed)
        #expect(failure(response, 7) == nil)
        var request = MetadataRequest()
        request.topics = nil
        #expect(failure(request, 0) == .nullNotAllowed)
        #expect(failure(request, 1) == nil)
    }

    @Test func theFirstOfSeveralFailuresIsReported() {
        var response = JoinGroupResponse()
        response.protocolName = nil
        response.leader = String(repeating: "l", count: 40_000)
        #expect(failure(response, 6) == .nullNotAllowed)
    }

    @Test func fieldsThatAVersionDoesNotHaveAreIgnored() throws {
        var request = HeartbeatRequest()
        request.groupId = "g"
        request.groupInstanceId = "instance"
        var buffer = ByteBuffer()
        try request.encode(into: &buffer, version: 2)
        let decoded = try HeartbeatRequest(from: &buffer, version: 2)
        request.groupInstanceId = nil
        #expect(decoded == request)
    }

    @Test func tagsWithTheirDefaultsAreNotSent() throws {
        var buffer = ByteBuffer()
        try ApiVersionsResponse().encode(into: &buffer, version: 3)
        #expect(buffer == ByteBuffer(bytes: [0, 0, 1, 0, 0, 0, 0, 0]))
    }

    /// 127, 128 and 16384 are where the size takes another byte.
    @Test(arguments: [1, 124, 125, 126, 127, 128, 16380, 16381, 16382, 16384, 70_000])
    func aTagOfAnySizeComesBack(length: Int) throws {
        var request = FetchRequest()
        request.clusterId = String(repeating: "c", count: length)
        request.replicaState.replicaId = 4
        var buffer = ByteBuffer()
        try request.encode(into: &buffer, version: 15)
        let size = buffer.readableBytes
        #expect(try FetchRequest(from: &buffer, version: 15) == request)
        #expect(buffer.readableBytes == 0)
        var empty = FetchRequest()
        empty.replicaState.replicaId = 4
        var without = ByteBuffer()
        try empty.encode(into: &without, version: 15)
        // Tag number, size, and the string with its own length.
        let lengthBytes = length + 1 < 128 ? 1 : length + 1 < 16384 ? 2 : 3
        let content = lengthBytes + length
        let sizeBytes = content < 128 ? 1 : content < 16384 ? 2 : 3
        #expect(size == without.readableBytes + 1 + sizeBytes + content)
    }

    @Test func aBufferWithoutRoomGetsTheSameBytesAsOneWithPlenty() throws {
        for message in CataloguedMessage.all {
            for version in message.versions {
                let expected = try message.filled(version, .full)
                for room in [0, 1, expected.readableBytes - 1, expected.readableBytes, 5000] {
                    let (encoded, _) = try message.recode(expected, version, max(0, room))
                    #expect(encoded == expected, "\(message.name) v\(version) room \(room)")
                }
            }
        }
    }

    @Test func encodingDoesNotCopyWhatTheBufferHolds() throws {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(4096)
        buffer.writeString("before")
        let address = unsafe buffer.withVeryUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
        try HeartbeatResponse().encode(into: &buffer, version: 4)
        let after = unsafe buffer.withVeryUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
        #expect(address == after)
        #expect(buffer.readableBytes == 6 + 7)
    }
}
