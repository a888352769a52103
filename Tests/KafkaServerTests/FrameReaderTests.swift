// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: cutting received bytes into frames.

import NIOCore
import Testing

@testable import KafkaServer

@Suite struct FrameReaderTests {
    private func frame(_ payload: [UInt8]) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeInteger(Int32(payload.count))
        buffer.writeBytes(payload)
        return Array(buffer: buffer)
    }

    /// Feeds `bytes` in pieces and returns the frames that come out.
    private func frames(of bytes: [UInt8], pieces: Int, limit: Int = 1 << 20) throws -> [[UInt8]] {
        var reader = FrameReader(limit: limit)
        var found: [[UInt8]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            reader.receive(ByteBuffer(bytes: rest.prefix(pieces)))
            rest = rest.dropFirst(pieces)
            while let frame = try reader.next() { found.append(Array(buffer: frame)) }
        }
        return found
    }

    @Test(arguments: [1, 2, 3, 5, 7, 64, 1000])
    func framesComeOutWholeHoweverTheBytesArrive(_ pieces: Int) throws {
        let payloads: [[UInt8]] = [[1, 2, 3], [], Array(repeating: 9, count: 100), [4]]
        #expect(try frames(of: payloads.flatMap(frame), pieces: pieces) == payloads)
    }

    @Test func aFrameLargerThanTheReservationIsReadWhole() throws {
        let payload = [UInt8](repeating: 7, count: Limits.reservedFrameBytes + 1000)
        #expect(try frames(of: frame(payload), pieces: 65_536, limit: 8 << 20) == [payload])
    }

    @Test(arguments: [(UInt8(0), true), (1, false), (18, false)])
    func onlyProduceMayBeLarge(_ key: UInt8, _ isTaken: Bool) throws {
        var reader = FrameReader(limit: 10_000, otherLimit: 1000)
        reader.receive(ByteBuffer(bytes: [0, 0, 0x10, 0]))
        #expect(try reader.next() == nil)
        reader.receive(ByteBuffer(bytes: [0, key]))
        if isTaken {
            #expect(try reader.next() == nil)
        } else {
            #expect(throws: FrameReader.Oversized(length: 4096, limit: 1000)) { try reader.next() }
        }
    }

    @Test(arguments: [Int32(-1), Int32.min, 1001, Int32.max])
    func anAbsurdLengthIsRefused(_ length: Int32) throws {
        var reader = FrameReader(limit: 1000)
        var bytes = ByteBuffer()
        bytes.writeInteger(length)
        reader.receive(bytes)
        #expect(throws: FrameReader.Oversized(length: Int(length), limit: 1000)) { try reader.next() }
    }
}
