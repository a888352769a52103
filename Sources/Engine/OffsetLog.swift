// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the topic `__consumer_offsets` as the group coordinator's store: what it calls a failure.

import NIOCore

struct OffsetLog: OffsetStore {
    let topic: InternalTopic

    func append(
        _ records: [KeyedRecord], on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, GroupError>) -> Void
    ) {
        topic.append(records, on: loop) { completion($0.mapError { GroupError($0) }) }
    }

    func replay(_ body: (_ key: ByteBuffer, _ value: ByteBuffer?) -> Void) throws(EngineError) {
        try topic.replay(body)
    }
}

extension GroupError {
    /// What a commit is told when its log cannot take it.
    fileprivate init(_ error: EngineError) {
        self = error.code == .messageTooLarge ? .invalidCommitOffsetSize : .coordinatorNotAvailable
    }
}
