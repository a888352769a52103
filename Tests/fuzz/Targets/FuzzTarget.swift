// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: what a target is, and the list of them.
//
// A target is a function of bytes that checks properties of one parser or edge. It keeps nothing from
// one input to the next, so that an input that fails once fails always. The same functions run under
// libFuzzer (Driver) and over the kept inputs in the unit tests (Replay).

import NIOCore

/// One function that eats bytes.
struct FuzzTarget: Sendable {
    /// Names the corpus file and the regressions' directory too.
    let name: String
    /// Inputs longer than this find nothing that shorter ones do not, in bytes.
    let inputBytesMax: Int
    /// Throws `Violation` if a property does not hold; anything worse traps.
    let run: @Sendable (ByteBuffer) throws -> Void

    static let all: [FuzzTarget] = [
        FuzzTarget(name: "kafka-request", inputBytesMax: 4096, run: fuzzKafkaRequest),
        FuzzTarget(name: "kafka-response", inputBytesMax: 4096, run: fuzzKafkaResponse),
        FuzzTarget(name: "kafka-connection", inputBytesMax: 16_384, run: fuzzKafkaConnection),
        FuzzTarget(name: "kafka-client", inputBytesMax: 4096, run: fuzzKafkaClient),
        FuzzTarget(name: "record-batch", inputBytesMax: 8192, run: fuzzRecordBatch),
        FuzzTarget(name: "decompressor", inputBytesMax: 8192, run: fuzzDecompressor),
        FuzzTarget(name: "grpc-connection", inputBytesMax: 16_384, run: fuzzGRPCConnection),
        FuzzTarget(name: "grpc-messages", inputBytesMax: 4096, run: fuzzGRPCMessages),
        FuzzTarget(name: "protobuf", inputBytesMax: 4096, run: fuzzProtobuf),
        FuzzTarget(name: "work-messages", inputBytesMax: 4096, run: fuzzWorkMessages),
        FuzzTarget(name: "subscription", inputBytesMax: 2048, run: fuzzSubscription),
        FuzzTarget(name: "web", inputBytesMax: 4096, run: fuzzWeb),
        FuzzTarget(name: "http2-client", inputBytesMax: 16_384, run: fuzzHTTP2Client),
        FuzzTarget(name: "tls", inputBytesMax: 4096, run: fuzzTLS),
        FuzzTarget(name: "certificates", inputBytesMax: 4096, run: fuzzCertificates),
        FuzzTarget(name: "sasl", inputBytesMax: 4096, run: fuzzSasl),
        FuzzTarget(name: "tokens", inputBytesMax: 4096, run: fuzzTokens),
        FuzzTarget(name: "credentials", inputBytesMax: 2048, run: fuzzCredentials),
        FuzzTarget(name: "policy-answers", inputBytesMax: 4096, run: fuzzPolicyAnswers),
        FuzzTarget(name: "principals", inputBytesMax: 1024, run: fuzzPrincipals),
        FuzzTarget(name: "http1", inputBytesMax: 4096, run: fuzzHTTP1),
        FuzzTarget(name: "yaml", inputBytesMax: 4096, run: fuzzYAML),
        FuzzTarget(name: "storage-files", inputBytesMax: 4096, run: fuzzStorageFiles),
        FuzzTarget(name: "recovery", inputBytesMax: 2048, run: fuzzRecovery),
    ]

    static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// A property that does not hold.
struct Violation: Error, CustomStringConvertible {
    var description: String
}

/// Throws unless `holds`.
func require(_ holds: Bool, _ what: @autoclosure () -> String) throws {
    if !holds { throw Violation(description: what()) }
}

/// Reads choices from the front of an input; zeros when it is used up.
extension ByteBuffer {
    mutating func choice() -> UInt8 { readInteger() ?? 0 }

    mutating func wideChoice() -> UInt16 {
        UInt16(choice()) << 8 | UInt16(choice())
    }

    /// The next `count` bytes, or as many as there are.
    mutating func take(_ count: Int) -> ByteBuffer {
        readSlice(length: min(count, readableBytes)) ?? ByteBuffer()
    }

    var array: [UInt8] { Array(readableBytesView) }

    /// The readable bytes in a buffer of their own, from its start.
    var ownCopy: ByteBuffer { ByteBuffer(bytes: readableBytesView) }
}

/// SplitMix64, for cuts that follow from the input.
struct CutGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// `bytes` in pieces as a socket might deliver them; seed 0 keeps them whole.
func pieces(_ bytes: ByteBuffer, seed: UInt16) -> [ByteBuffer] {
    guard seed != 0 else { return bytes.readableBytes == 0 ? [] : [bytes] }
    var generator = CutGenerator(state: UInt64(seed))
    var rest = bytes
    var pieces: [ByteBuffer] = []
    while rest.readableBytes > 0 {
        let longest = [3, 40, 700, 5000].randomElement(using: &generator) ?? 1
        pieces.append(rest.take(Int.random(in: 1...longest, using: &generator)).ownCopy)
    }
    return pieces
}
