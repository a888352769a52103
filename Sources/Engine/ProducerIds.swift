// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: producer ids, each given out once, also across crashes.
//
// Ids are taken from blocks; the end of a block is durable in the metadata log before any of its ids is given out,
// so a crash skips ids and never repeats one.

import Bytes
import NIOConcurrencyHelpers
import NIOCore

package final class ProducerIds: @unchecked Sendable {
    // Unchecked: `state` is guarded by `lock`.
    private static let blockSize: Int64 = 1000

    private let lock = NIOLock()
    private var state = State()
    private let metadata: InternalLog

    private struct State {
        var next: Int64 = 0
        /// First id that no durable record covers.
        var end: Int64 = 0
        var isExtending = false
        var waiting: [EventLoopPromise<Int64>] = []
    }

    init(metadata: InternalLog) {
        self.metadata = metadata
    }

    /// At start: ids below `next` may have been given out.
    func load(next: Int64) {
        lock.withLock {
            state.next = sabotaged("repeatProducerIds") ? 0 : next
            state.end = next
        }
    }

    /// The record that would restore this.
    func durableState() -> KeyedRecord {
        MetadataRecord.producerIds(next: lock.withLock { state.end }).encoded()
    }

    /// A producer id that nobody has had.
    package func allocate(on loop: any EventLoop) -> EventLoopFuture<Int64> {
        let promise = loop.makePromise(of: Int64.self)
        let (id, extend): (Int64?, Bool) = lock.withLock {
            if state.next < state.end {
                defer { state.next += 1 }
                return (state.next, false)
            }
            state.waiting.append(promise)
            defer { state.isExtending = true }
            return (nil, !state.isExtending)
        }
        if let id { promise.succeed(id) }
        if extend { self.extend(on: loop) }
        return promise.futureResult
    }

    private func extend(on loop: any EventLoop) {
        let end = lock.withLock { state.end } + Self.blockSize
        metadata.append([MetadataRecord.producerIds(next: end).encoded()], on: loop) { result in
            let (waiting, first, again) = self.lock.withLock {
                self.state.isExtending = false
                if case .success = result { self.state.end = end }
                let served = min(self.state.waiting.count, Int(self.state.end - self.state.next))
                let count = if case .success = result { served } else { self.state.waiting.count }
                let waiting = Array(self.state.waiting.prefix(count))
                self.state.waiting.removeFirst(count)
                defer { if case .success = result { self.state.next += Int64(count) } }
                if !self.state.waiting.isEmpty { self.state.isExtending = true }
                return (waiting, self.state.next, !self.state.waiting.isEmpty)
            }
            for (index, promise) in waiting.enumerated() {
                switch result {
                case .success: promise.succeed(first + Int64(index))
                case .failure(let error): promise.fail(error)
                }
            }
            if again { self.extend(on: loop) }
        }
    }
}
