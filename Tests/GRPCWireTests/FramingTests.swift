// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWireTests: frames, encodings, status messages and timeouts.

import NIOCore
import Records
import Testing

@testable import GRPCWire

private func framed(_ payloads: [[UInt8]], flag: UInt8 = 0) -> ByteBuffer {
    var buffer = ByteBuffer()
    for payload in payloads {
        buffer.writeInteger(flag)
        buffer.writeInteger(UInt32(payload.count))
        buffer.writeBytes(payload)
    }
    return buffer
}

@Suite struct MessageDeframerTests {
    @Test(arguments: [1, 2, 4, 5, 6, 1000])
    func `Messages come out whole however the body is cut`(chunk: Int) throws {
        let payloads: [[UInt8]] = [[], [1], Array(repeating: 2, count: 300), [3, 4]]
        var body = framed(payloads)
        var deframer = MessageDeframer(messageBytesMax: 300)
        var seen: [[UInt8]] = []
        while let part = body.readSlice(length: min(chunk, body.readableBytes)), part.readableBytes > 0 {
            deframer.append(part)
            while let message = try deframer.next() {
                #expect(!message.isCompressed)
                seen.append(message.bytes.array)
            }
            deframer.keep()
        }
        #expect(seen == payloads)
        #expect(!deframer.isIncomplete)
    }

    @Test func `A message one byte too large is refused as soon as it is announced`() {
        var deframer = MessageDeframer(messageBytesMax: 10)
        deframer.append(ByteBuffer(bytes: [0, 0, 0, 0, 11]))
        #expect(throws: GRPCStatus(.resourceExhausted, "a message of 11 bytes is larger than the 10 bytes allowed; send less at a time")) {
            try deframer.next()
        }
    }

    @Test func `An announced length reserves nothing`() throws {
        var deframer = MessageDeframer(messageBytesMax: 1 << 30)
        deframer.append(ByteBuffer(bytes: [0, 0x3f, 0xff, 0xff, 0xff, 1]))
        #expect(try deframer.next() == nil)
        deframer.keep()
        #expect(deframer.isIncomplete && deframer.pendingBytes == 6)
    }

    @Test func `Unknown flags are an error`() {
        var deframer = MessageDeframer(messageBytesMax: 10)
        deframer.append(framed([[1]], flag: 2))
        #expect(throws: GRPCStatus(.internal, "a message has the unknown flags 2; 0 and 1 are known")) { try deframer.next() }
    }

    @Test func `A framed message carries its length`() {
        var buffer = ByteBuffer(string: "x")
        buffer.writeMessage { $0.writeString("hello") }
        #expect(buffer.array == [0x78, 0, 0, 0, 0, 5] + Array("hello".utf8))
    }
}

extension MessageDeframer.Message: Equatable {
    public static func == (left: Self, right: Self) -> Bool {
        left.isCompressed == right.isCompressed && left.bytes == right.bytes
    }
}

@Suite struct MessageEncodingTests {
    private func gzip(_ bytes: [UInt8]) -> ByteBuffer {
        var output = ByteBuffer()
        unsafe bytes.withUnsafeBytes { unsafe Compressor().compress($0, .gzip, into: &output) }
        return output
    }

    @Test func `The names of encodings`() {
        #expect(MessageEncoding(nil) == .identity)
        #expect(MessageEncoding(ByteBuffer(string: "identity")) == .identity)
        #expect(MessageEncoding(ByteBuffer(string: "gzip")) == .gzip)
        #expect(MessageEncoding(ByteBuffer(string: "br")) == nil)
    }

    @Test func `A gzip message is decompressed, up to the limit`() throws {
        let payload = Array(repeating: UInt8(9), count: 5000)
        let message = MessageDeframer.Message(isCompressed: true, bytes: gzip(payload))
        #expect(try message.decoded(.gzip, Decompressor(), bytesMax: 5000).array == payload)
        #expect(throws: GRPCStatus.self) { try message.decoded(.gzip, Decompressor(), bytesMax: 4999) }
        do throws(GRPCStatus) {
            _ = try message.decoded(.gzip, Decompressor(), bytesMax: 100)
        } catch {
            #expect(error.code == .resourceExhausted)
        }
    }

    @Test func `A message that is not flagged stays as it is, whatever the call's encoding`() throws {
        let message = MessageDeframer.Message(isCompressed: false, bytes: ByteBuffer(string: "plain"))
        #expect(try message.decoded(.gzip, Decompressor(), bytesMax: 1) == ByteBuffer(string: "plain"))
    }

    @Test func `Damaged gzip, or a flag without an encoding, is an internal error`() {
        let message = MessageDeframer.Message(isCompressed: true, bytes: ByteBuffer(string: "no gzip at all"))
        for encoding in [MessageEncoding.gzip, .identity] {
            do throws(GRPCStatus) {
                _ = try message.decoded(encoding, Decompressor(), bytesMax: 100)
                Issue.record("no error")
            } catch {
                #expect(error.code == .internal)
            }
        }
    }
}

@Suite struct GRPCStatusTests {
    @Test(arguments: [
        ("", ""), ("all right", "all right"), ("100%", "100%25"), ("topic \"ä\"\n", "topic \"%C3%A4\"%0A"),
    ])
    func `Messages are percent-encoded and come back`(message: String, encoded: String) {
        #expect(GRPCStatus(.unknown, message).encodedMessage == encoded)
        #expect(GRPCStatus.decodedMessage(encoded) == message)
    }

    @Test(arguments: ["%", "%4", "%zz", "a%", "%%41"])
    func `Broken percent signs are kept`(value: String) {
        #expect(GRPCStatus.decodedMessage(value).hasPrefix(String(value.prefix(1))))
        #expect(!GRPCStatus.decodedMessage(value).isEmpty)
    }

    @Test func `A long message is cut to fit a header`() {
        for message in [String(repeating: "a", count: 10_000), String(repeating: "ä", count: 10_000)] {
            let encoded = GRPCStatus(.unknown, message).encodedMessage
            #expect(encoded.utf8.count <= GRPCStatus.encodedMessageBytesMax && encoded.utf8.count > 4000)
        }
    }

    @Test func `Codes are the protocol's 0 to 16`() {
        #expect(GRPCStatus.Code.allCases.map(\.rawValue) == Array(0...16))
        #expect(GRPCStatus.Code(rawValue: 14)?.name == "UNAVAILABLE")
        #expect(Set(GRPCStatus.Code.allCases.map(\.name)).count == 17)
    }
}

@Suite struct GRPCTimeoutTests {
    @Test(arguments: [
        ("1H", TimeAmount.hours(1)), ("2M", .minutes(2)), ("3S", .seconds(3)), ("4m", .milliseconds(4)),
        ("5u", .microseconds(5)), ("6n", .nanoseconds(6)), ("0n", .nanoseconds(0)), ("99999999S", .seconds(99_999_999)),
        ("99999999H", .hours(1_000_000)),
    ])
    func `Every unit is understood`(value: String, amount: TimeAmount) {
        #expect(GRPCTimeout.parse(ByteBuffer(string: value)) == amount)
    }

    @Test(arguments: ["", "S", "5", "5s", "-1S", "123456789S", "1.5S", " 1S", "1S "])
    func `Everything else is refused`(value: String) {
        #expect(GRPCTimeout.parse(ByteBuffer(string: value)) == nil)
    }

    @Test(arguments: [
        (TimeAmount.nanoseconds(1), "1n"), (.milliseconds(250), "250000u"), (.seconds(5), "5000000u"),
        (.hours(2000), "7200000S"), (.nanoseconds(-5), "0n"), (.nanoseconds(Int64.max), "2562048H"),
    ])
    func `Times are formatted in the finest unit that fits`(time: TimeAmount, value: String) {
        #expect(GRPCTimeout.format(time) == value)
        if time < .hours(100_000) && time > .zero {
            #expect(GRPCTimeout.parse(ByteBuffer(string: value)) == time)
        }
    }
}
