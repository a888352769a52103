// SPDX-License-Identifier: Apache-2.0
// Martlet, TestSupport: an engine in one thread: embedded event loop, manual clock, files in memory.

import Bytes
import Engine
import Logging
import NIOCore
import NIOEmbedded
import Records
import Storage
import Telemetry


/// Everything runs when the test says so: `turn()` ends the event loop's turn, `sync()` runs a sync round.
package final class TestEngine {
    package let loop = EmbeddedEventLoop()
    package let clock = ManualClock()
    package let engine: Engine
    package let groupCommit: GroupCommit
    package let metrics = Metrics()

    package init(
        fileSystem: any FileSystem = MemoryFileSystem(), durability: Durability = .os,
        logger: Logger = Logger(label: "test"), audit: AuditLog = .off, policy: (any PolicySource)? = nil,
        configure: (inout EngineConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = EngineConfiguration()
        configuration.durability = durability
        configuration.groups = .development
        configure(&configuration)
        groupCommit = GroupCommit(fileSystem: fileSystem, clock: clock)
        engine = try Engine(
            configuration: configuration, directory: DataDirectory(fileSystem: fileSystem, clock: clock, logger: logger),
            groupCommit: groupCommit,
            loop: loop, clock: clock, metrics: metrics, logger: logger, audit: audit, policy: policy)
    }

    /// Ends the turn: what was appended is written and answered.
    package func turn() { loop.run() }

    /// One sync round, and the answers that follow from it.
    package func sync() {
        turn()
        groupCommit.runRound()
        turn()
    }

    package func makeTopic(
        _ name: String = "orders", partitions: Int32 = 1, overrides: [String: String] = [:]
    ) throws -> Topic {
        let future = engine.topics.create(
            TopicSpecification(name: name, partitions: partitions, overrides: overrides), on: loop)
        sync()
        return try future.wait()
    }

    package func append(
        _ batch: ByteBuffer, to partition: Partition, acks: Acks = .leader
    ) -> Answer<AppendResult> {
        let answer = Answer<AppendResult>()
        partition.append(batch, acks: acks, turn: engine.turns.turn(for: loop)) { answer.result = $0 }
        return answer
    }
}

/// What a completion was called with, if it was.
package final class Answer<Value: Sendable>: @unchecked Sendable {
    // Unchecked: tests run in one thread.
    package var result: Result<Value, EngineError>?

    package init() {}

    package var error: EngineError.Code? {
        if case .failure(let error) = result { error.code } else { nil }
    }
}

/// An external policy that answers when a test says so.
package final class TestPolicy: PolicySource, @unchecked Sendable {
    // Unchecked: tests run in one thread.
    /// What was asked and is not answered.
    package private(set) var open: [(question: AccessQuestion, completion: @Sendable (PolicyAnswer) -> Void)] = []
    /// All that was ever asked.
    package private(set) var asked: [AccessQuestion] = []
    /// Answers at once.
    package var immediate: ((AccessQuestion) -> PolicyAnswer)?

    package init(immediate: ((AccessQuestion) -> PolicyAnswer)? = nil) {
        self.immediate = immediate
    }

    package func ask(_ question: AccessQuestion, completion: @escaping @Sendable (PolicyAnswer) -> Void) {
        asked.append(question)
        if let immediate { completion(immediate(question)) } else { open.append((question, completion)) }
    }

    /// Answers all that is open.
    package func answer(_ decide: (AccessQuestion) -> PolicyAnswer) {
        let questions = open
        open = []
        for (question, completion) in questions { completion(decide(question)) }
    }

    package func answer(_ answer: PolicyAnswer) { self.answer { _ in answer } }
}

/// A batch of `values`, uncompressed, optionally of an idempotent producer.
package func batch(
    _ values: String..., timestamp: Int64 = 1_700_000_000_000, producer: RecordBatchBuilder.Producer = .none
) -> ByteBuffer {
    var builder = RecordBatchBuilder(producer: producer)
    for value in values {
        builder.append(key: nil, value: ByteBuffer(string: value), timestamp: timestamp)
    }
    return builder.finish()
}

/// The values that a partition serves from `offset` on, with their offsets.
package func read(_ partition: Partition, from offset: Int64 = 0) throws -> [String] {
    var values: [String] = []
    var next = offset
    while let slice = try partition.read(from: next, maxBytes: 1 << 20).slice {
        var bytes = ByteBuffer()
        try slice.read(into: &bytes)
        while let header = BatchHeader(bytes), let whole = bytes.readSlice(length: header.sizeInBytes) {
            var reader = try RecordBatchReader(whole, decompressor: Decompressor())
            while let record = try reader.next() {
                guard record.offset >= offset else { continue }
                values.append("\(record.offset):\(record.value.map { String(buffer: $0) } ?? "-")")
            }
            next = header.nextOffset
        }
    }
    return values
}
