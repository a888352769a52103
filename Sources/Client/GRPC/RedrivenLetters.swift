// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: which dead letters of a topic were put back already.
//
// A value; asked for once, before the letters are read. Letters that come later are unknown to it, and so not put back.

import Contract
import SwiftProtobuf

package struct RedrivenLetters: Sendable {
    /// Of each partition, ascending.
    private var ranges: [Int32: [ClosedRange<Int64>]] = [:]
    /// There were too many stretches to be told all of them.
    package private(set) var isIncomplete = false

    init(_ response: Martlet_V1_DescribeDeadLettersResponse) {
        isIncomplete = response.isIncomplete
        for partition in response.partitions {
            ranges[partition.partition] = partition.redriven.compactMap {
                $0.firstOffset <= $0.lastOffset ? $0.firstOffset...$0.lastOffset : nil
            }
        }
    }

    package func contains(_ offset: Int64, of partition: Int32) -> Bool {
        let ranges = ranges[partition] ?? []
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < offset { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].contains(offset)
    }
}

extension GRPCClient {
    package func redrivenLetters(of topic: String) throws(ClientError) -> RedrivenLetters {
        RedrivenLetters(
            try ask(Self.describeDeadLettersPath, Martlet_V1_DescribeDeadLettersRequest.with { $0.deadLetterTopic = topic }))
    }
}
