// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what must be true of a work queue.
//
// At any time: what is delivered was published, is held by nobody else, was not accepted or rejected, and is not delivered
// more often than it may. In the end: every published job that nobody has finished is still there for a worker.

import Engine
import KafkaWire
import NIOCore
import Records

extension Life {
    /// A job that came to a worker; nil if it should not have.
    func delivered(_ value: String, _ count: Int16, in partition: Int32) -> Job? {
        guard let job = crew.job(value), job.partition == partition else {
            violate("what is served was sent", "\(Crew.topic)-\(partition) delivers \(value)")
            return nil
        }
        job.deliveriesMax += 1
        if job.isOver {
            violate("what is done comes no more", "\(value), delivery \(count)")
        } else if count < 1 || count > Crew.deliveriesMax {
            violate("a job is delivered so often and no more", "\(value), delivery \(count)")
        } else {
            return job
        }
        return nil
    }

    /// The acquired records of an answer: offset, value, which delivery this is.
    func jobs(of partition: ShareFetchResponse.Partition) -> [(offset: Int64, value: String, count: Int16)] {
        guard case .bytes(var bytes) = partition.records else { return [] }
        var found: [(Int64, String, Int16)] = []
        while let header = BatchHeader(bytes), let batch = bytes.readSlice(length: header.sizeInBytes) {
            guard var reader = try? RecordBatchReader(batch, decompressor: decompressor) else {
                violate("what is served is sound", "\(Crew.topic)-\(partition.partitionIndex) at \(header.baseOffset)")
                return []
            }
            while let record = try? reader.next() {
                let range = partition.acquiredRecords.first { $0.firstOffset <= record.offset && record.offset <= $0.lastOffset }
                guard let range, let value = record.value.map({ String(buffer: $0) }) else { continue }
                found.append((record.offset, value, range.deliveryCount))
            }
        }
        return found
    }

    /// When all is over: takes what there is, as the only worker.
    func checkCrew() throws {
        guard crew.isReady, let broker, broker.engine.allPartitions.allSatisfy({ $0.failure == nil }) else { return }
        crew.letGo(nil)
        var seen: Set<String> = []
        try ask { link in
            var join = ShareGroupHeartbeatRequest()
            join.groupId = Crew.group
            join.memberId = "the last one"
            join.subscribedTopicNames = [Crew.topic]
            let joined = try askDurably(join, version: 1, over: link)
            guard joined.errorCode == .none, let mine = joined.assignment?.topicPartitions.first else {
                return violate("a worker can join", "\(joined.errorCode)")
            }
            var epoch: Int32 = 0
            var isEmpty = false
            while !isEmpty, violation == nil {
                var request = ShareFetchRequest()
                request.groupId = Crew.group
                request.memberId = join.memberId
                request.shareSessionEpoch = epoch
                request.maxRecords = 500
                request.batchSize = 500
                if epoch == 0 {
                    var topic = ShareFetchRequest.Topic()
                    topic.topicId = mine.topicId
                    topic.partitions = mine.partitions.map { index in
                        var partition = ShareFetchRequest.Partition()
                        partition.partitionIndex = index
                        return partition
                    }
                    request.topics = [topic]
                }
                let answer = try askDurably(request, version: 1, over: link)
                guard answer.errorCode == .none else { return violate("a worker can take jobs", "\(answer.errorCode)") }
                epoch += 1
                let before = seen.count
                for partition in answer.responses.flatMap(\.partitions) {
                    for (_, value, count) in jobs(of: partition) where delivered(value, count, in: partition.partitionIndex) != nil {
                        seen.insert(value)
                    }
                }
                isEmpty = seen.count == before
            }
        }
        guard violation == nil else { return }
        let missing = crew.jobs.first {
            $0.isPublished && !$0.isOver && !$0.mayBeOver && $0.deliveriesMax < Crew.deliveriesMax && !seen.contains($0.value)
        }
        if let missing { violate("a job comes until it is done", "\(missing.value) in partition \(missing.partition)") }
    }
}
