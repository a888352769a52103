// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: what our own Kafka client does with the bytes of a broker that means it ill.
//
//   two bytes say how what follows is cut into reads; the rest is what the broker sends
//
// Properties: the same frames come out however the bytes are cut, and so do the answers that a load run
// scans for.

import NIOCore

@testable import Client

@Sendable func fuzzKafkaClient(_ input: ByteBuffer) throws {
    var bytes = input
    let seed = bytes.wideChoice()
    let cut = pieces(bytes, seed: seed | 1)
    try require(frames(cut) == frames([bytes]), "frames depend on how the bytes arrive")
    // Most of a Fetch answer's front is fixed: put it there, so that heads of batches are reached.
    for version: Int16 in [7, 11] {
        let answer = fetchAnswer(around: bytes, version: version)
        let whole = scan([answer], version: version)
        let split = scan(pieces(answer, seed: seed | 1), version: version)
        try require(whole == split, "Fetch answers depend on how the bytes arrive")
    }
    _ = scan(cut, version: 11)
}

private struct Outcome<Element: Equatable>: Equatable {
    var found: [Element] = []
    var hasFailed = false
}

private func frames(_ received: [ByteBuffer]) -> Outcome<ByteBuffer> {
    var splitter = FrameSplitter(frameBytesMax: 1 << 20)
    var outcome = Outcome<ByteBuffer>()
    for piece in received where !outcome.hasFailed {
        splitter.append(piece)
        do throws(ClientError) {
            while let frame = try splitter.next() { outcome.found.append(frame) }
        } catch {
            outcome.hasFailed = true
        }
    }
    return outcome
}

private func scan(_ received: [ByteBuffer], version: Int16) -> Outcome<FetchAnswer> {
    var scanner = FetchAnswerScanner(topic: "t", version: version, correlationId: 7)
    var outcome = Outcome<FetchAnswer>()
    for piece in received where !outcome.hasFailed {
        // SAFETY: the pointer is used within the closure only.
        let failed = unsafe piece.withUnsafeReadableBytes { raw in
            do throws(ClientError) {
                try unsafe scanner.scan(raw) { outcome.found.append($0) }
                return false
            } catch {
                return true
            }
        }
        outcome.hasFailed = failed
    }
    return outcome
}

/// A Fetch answer of one partition whose records are `records`.
private func fetchAnswer(around records: ByteBuffer, version: Int16) -> ByteBuffer {
    var answer = ByteBuffer()
    answer.writeMultipleIntegers(Int32(0), Int32(7), Int32(0), Int16(0), Int32(0), Int32(1))
    answer.writeMultipleIntegers(Int16(1), UInt8(ascii: "t"), Int32(1))
    answer.writeMultipleIntegers(Int32(0), Int16(0), Int64(9), Int64(9), Int64(0), Int32(-1))
    if version >= 11 { answer.writeInteger(Int32(-1)) }
    answer.writeInteger(Int32(records.readableBytes))
    answer.writeImmutableBuffer(records)
    answer.setInteger(Int32(answer.readableBytes - 4), at: 0)
    return answer
}
