// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: a subscription whose partitions are those that a group gives it.

import Contract
import Engine
import GRPCWire
import NIOCore
import SwiftProtobuf

extension Subscription {
    /// Reads only these from now on; returns those that it does not read yet.
    @discardableResult func assign(_ partitions: [Partition]) -> [Partition] {
        for (index, position) in cursor.positions.enumerated()
        where !position.isGone && !partitions.contains(where: { $0 === position.partition }) {
            forget(index)
        }
        tellAssignment()
        return partitions.filter { partition in
            !cursor.positions.contains { !$0.isGone && $0.partition === partition }
        }
    }

    /// Begins to read partitions where the group has committed, or at the origin.
    func read(_ partitions: [Partition], from committed: [TopicPositions]) {
        for partition in partitions {
            let offsets = partition.offsets
            let known = committed.first { $0.topic == partition.topic }?.positions
                .first { $0.partition == partition.index }?.offset?.offset
            var start = known ?? origin.offset(offsets) ?? offsets.highWatermark
            if start < offsets.start || start > offsets.highWatermark {
                guard let other = origin.offset(offsets) else {
                    return end(
                        .outOfRange(
                            start, of: partition, offsets,
                            "the group's commit \(start) of \(partition.name) is not there: it has \(offsets.start) to"
                                + " \(offsets.highWatermark); set origin to begin elsewhere then"))
                }
                start = other
            }
            add(Cursor.Position(partition: partition, offset: start))
        }
        wake()
    }

    /// The next message says what the member has.
    func tellAssignment() {
        mustTellAssignment = true
        wake()
    }

    func writeAssignment(_ member: SubscriptionMember, into buffer: inout ByteBuffer) {
        mustTellAssignment = false
        let message = Martlet_V1_SubscribeResponse.with {
            $0.assignment = .with {
                $0.memberID = member.memberId
                $0.memberEpoch = member.epoch
                $0.partitions = cursor.positions.filter { !$0.isGone }.map { position in
                    .with {
                        $0.topic = position.partition.topic
                        $0.partition = position.partition.index
                    }
                }
            }
        }
        guard let bytes: [UInt8] = try? message.serializedBytes() else {
            preconditionFailure("a message without required fields can be encoded")
        }
        buffer.writeMessage { $0.writeBytes(bytes) }
    }

    /// Ends the stream with what the group says.
    func end(_ status: GRPCStatus) {
        if ending == nil { ending = status }
        wake()
    }
}
