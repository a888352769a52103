// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what the group coordinator needs of the log that keeps committed offsets.
//
// The engine's internal log provides it; tests use one in memory that can fail.

import NIOCore

package protocol OffsetStore: Sendable {
    /// Appends `records` as one batch. Calls made one after the other append in that order. `completion` runs on
    /// `loop`, never before `append` returns, once the batch is durable or is known not to be.
    func append(
        _ records: [KeyedRecord], on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, GroupError>) -> Void)

    /// At start: every live record, in order. `value` is nil for a deletion.
    func replay(_ body: (_ key: ByteBuffer, _ value: ByteBuffer?) -> Void) throws(EngineError)
}
