// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: walks Fetch answers as they arrive, looking at the heads of batches only.
//
// A value with one owner. Answers are never put together: what is between two heads is skipped
// where it lies, so a load run costs little more than reading from the socket. Made for answers
// with one partition, in versions 7 to 11 (fixed fields). Nothing is trusted: lengths that
// contradict each other end the walk.
//
//   front (fixed fields) -> batch head -> batch body (skipped) -> batch head ...
//   -> front of the next answer

import NIOCore
import Records

/// What one Fetch answer held.
struct FetchAnswer: Equatable, Sendable {
    var errorCode: Int16 = 0
    var highWatermark: Int64 = 0
    var logStartOffset: Int64 = 0
    /// Whole batches only.
    var records = 0
    var bytes = 0
    /// One past the last record of the last whole batch; -1 if there was none.
    var nextOffset: Int64 = -1
    /// Offsets left out between batches.
    var gaps = 0
    /// The first batch's base offset; -1 if there was none.
    var firstOffset: Int64 = -1
}

struct FetchAnswerScanner {
    private enum State {
        case front
        case head
        case body
    }

    private let frontSize: Int
    private let errorPosition: Int
    private let partitionPosition: Int
    private let correlationId: Int32
    private var state = State.front
    /// Bytes of a front or a head that came in two reads.
    private var carry = ByteBuffer()
    /// Bytes of the answer that have not been seen.
    private var answerLeft = 0
    private var bodyLeft = 0
    private var answer = FetchAnswer()

    /// - Parameter version: 7 to 11.
    init(topic: String, version: Int16, correlationId: Int32) {
        precondition((7...11).contains(version), "the scanner knows Fetch 7 to 11")
        self.correlationId = correlationId
        // Length, correlation id, throttle time; then the error of the whole answer, session id,
        // topics (one), name, partitions (one), and the partition's fields up to its records.
        errorPosition = 4 + 4 + 4
        partitionPosition = errorPosition + 2 + 4 + 4 + 2 + topic.utf8.count + 4
        let preferredReplica = version >= 11 ? 4 : 0
        frontSize = partitionPosition + 4 + 2 + 8 + 8 + 8 + 4 + preferredReplica + 4
    }

    /// Takes received bytes; `body` gets every answer that ends in them.
    mutating func scan(
        _ bytes: UnsafeRawBufferPointer, _ body: (FetchAnswer) -> Void
    ) throws(ClientError) {
        var position = 0
        while position < bytes.count {
            switch state {
            case .front:
                guard let front = unsafe take(frontSize, from: bytes, &position) else { return }
                try read(front: front)
            case .head:
                guard let head = unsafe take(BatchHeader.size, from: bytes, &position) else {
                    return
                }
                try read(head: head)
            case .body:
                let skipped = min(bodyLeft, bytes.count - position)
                position += skipped
                bodyLeft -= skipped
                answerLeft -= skipped
                if bodyLeft == 0 { state = .head }
            }
            settle(body)
        }
    }

    /// `size` bytes, put together from two reads if need be; nil if they are not all there yet.
    private mutating func take(
        _ size: Int, from bytes: UnsafeRawBufferPointer, _ position: inout Int
    ) -> ByteBuffer? {
        let wanted = min(size - carry.readableBytes, bytes.count - position)
        // SAFETY: the range lies inside `bytes`; slicing checks it.
        unsafe carry.writeBytes(
            UnsafeRawBufferPointer(rebasing: bytes[position..<position + wanted]))
        position += wanted
        guard carry.readableBytes == size else { return nil }
        let whole = carry
        carry.clear()
        return whole
    }

    private mutating func read(front: ByteBuffer) throws(ClientError) {
        answer = FetchAnswer()
        guard let length = front.getInteger(at: 0, as: Int32.self), Int(length) >= frontSize - 4,
            front.getInteger(at: 4, as: Int32.self) == correlationId,
            front.getInteger(at: errorPosition, as: Int16.self) == 0
        else {
            let code = front.getInteger(at: errorPosition, as: Int16.self) ?? 0
            throw ClientError(
                .badAnswer, "the answer to Fetch is an error (\(code)) or not for one partition")
        }
        let fields = partitionPosition + 4
        answer.errorCode = front.getInteger(at: fields, as: Int16.self) ?? 0
        answer.highWatermark = front.getInteger(at: fields + 2, as: Int64.self) ?? 0
        answer.logStartOffset = front.getInteger(at: fields + 18, as: Int64.self) ?? 0
        let aborted = front.getInteger(at: fields + 26, as: Int32.self) ?? 0
        let records = Int(front.getInteger(at: frontSize - 4, as: Int32.self) ?? 0)
        answerLeft = Int(length) + 4 - frontSize
        guard aborted <= 0, max(0, records) == answerLeft else {
            throw ClientError(
                .badAnswer, "the answer to Fetch has lengths that contradict each other")
        }
        answer.bytes = answerLeft
        state = .head
    }

    private mutating func read(head bytes: ByteBuffer) throws(ClientError) {
        guard let head = BatchHeader(bytes), head.magic == 2, head.batchLength >= 49 else {
            throw ClientError(.badAnswer, "the records of a Fetch answer are no batches of magic 2")
        }
        answerLeft -= BatchHeader.size
        bodyLeft = head.sizeInBytes - BatchHeader.size
        if bodyLeft > answerLeft {
            // A fetch may end in the middle of a batch, which then does not count.
            bodyLeft = answerLeft
        } else {
            if answer.firstOffset < 0 { answer.firstOffset = head.baseOffset }
            if answer.nextOffset >= 0 {
                let left = head.baseOffset &- answer.nextOffset
                guard left >= 0 else {
                    throw ClientError(
                        .badAnswer,
                        "offset \(head.baseOffset) follows offset \(answer.nextOffset - 1)")
                }
                let (gaps, isOver) = answer.gaps.addingReportingOverflow(Int(clamping: left))
                answer.gaps = isOver ? .max : gaps
            }
            answer.nextOffset = head.nextOffset
            answer.records += Int(max(0, head.recordCount))
        }
        state = bodyLeft > 0 ? .body : .head
    }

    /// Ends the answer when nothing of it is left but less than a head.
    private mutating func settle(_ body: (FetchAnswer) -> Void) {
        guard state == .head, carry.readableBytes == 0, answerLeft < BatchHeader.size else {
            return
        }
        guard answerLeft == 0 else {
            bodyLeft = answerLeft
            state = .body
            return
        }
        state = .front
        body(answer)
    }
}
