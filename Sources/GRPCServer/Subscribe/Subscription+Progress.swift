// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what a subscription tells about itself: how far it is, and how to go on from there.
//
// A message goes out when its time has come or when everything that was there has been delivered, and only between messages
// with records, so it is about exactly what came before it. A subscriber that does not read gets one when it does.

import Contract
import Engine
import FoundationEssentials
import GRPCWire
import NIOCore
import SwiftProtobuf

extension Subscription {
    struct Progress {
        let interval: TimeAmount
        var isDue = true
        var hasBegun = false
        var wasCaughtUp = false
        var timer: Scheduled<Void>?
        /// What was last told, by position of the cursor.
        var told: [(position: Int64, highWatermark: Int64)] = []

        init?(milliseconds: UInt32) {
            guard milliseconds > 0 else { return nil }
            interval = .milliseconds(Int64(milliseconds))
        }
    }

    func scheduleProgress() {
        guard let interval = progress?.interval, progress?.timer == nil else { return }
        progress?.timer = call.loop.scheduleTask(in: interval) {
            self.progress?.timer = nil
            self.progress?.isDue = true
            self.call.resume()
        }
    }

    /// Writes a progress message if it is time for one.
    func writeProgress(isCaughtUp: Bool, into buffer: inout ByteBuffer) {
        guard let state = progress else { return }
        let hasCaughtUp = isCaughtUp && !state.wasCaughtUp
        progress?.wasCaughtUp = isCaughtUp
        guard state.isDue || hasCaughtUp else { return }
        progress?.isDue = false
        progress?.hasBegun = true
        progress?.timer?.cancel()
        progress?.timer = nil
        scheduleProgress()
        let message = Martlet_V1_SubscribeResponse.with {
            $0.progress = .with {
                $0.partitions = changedPartitions()
                $0.caughtUp = isCaughtUp
                $0.resumeToken = .init(resumeToken.bytes.readableBytesView)
            }
        }
        guard let bytes: [UInt8] = try? message.serializedBytes() else {
            preconditionFailure("a message without required fields can be encoded")
        }
        buffer.writeMessage { $0.writeBytes(bytes) }
    }

    private func changedPartitions() -> [Martlet_V1_PartitionProgress] {
        var changed: [Martlet_V1_PartitionProgress] = []
        for (index, position) in cursor.positions.enumerated() where !position.isGone {
            let now = (position: position.offset, highWatermark: position.partition.offsets.highWatermark)
            if let told = progress?.told, told.indices.contains(index), told[index] == now { continue }
            while let count = progress?.told.count, count <= index { progress?.told.append((-1, -1)) }
            progress?.told[index] = now
            changed.append(
                .with {
                    $0.topic = position.partition.topic
                    $0.partition = position.partition.index
                    $0.position = now.position
                    $0.highWatermark = now.highWatermark
                    $0.lag = max(0, now.highWatermark - now.position)
                })
        }
        return changed
    }

    private var resumeToken: ResumeToken {
        var topics: [ResumeToken.Topic] = []
        var indexes: [String: Int] = [:]
        for position in cursor.positions where !position.isGone {
            let partition = position.partition
            let index = indexes[partition.topic] ?? topics.count
            if index == topics.count {
                indexes[partition.topic] = index
                topics.append(ResumeToken.Topic(id: partition.topicId, name: partition.topic))
            }
            topics[index].offsets[partition.index] = position.offset
        }
        return ResumeToken(topics: topics)
    }
}
