// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: what a load run does; plain values.

import Records

/// Which path is loaded.
package enum LoadMode: String, Sendable, CaseIterable {
    /// Kafka Produce.
    case produce
    /// Kafka Fetch.
    case fetch
    /// gRPC Publish, unary.
    case publish
    /// gRPC PublishStream.
    case publishStream = "publish-stream"
    /// gRPC Subscribe.
    case subscribe
    /// gRPC work queues: receive and acknowledge.
    case work
    /// From a PublishStream to a Subscribe of the same record, at a steady rate.
    case latency
    /// The same shape without a broker: a stream whose requests are answered at once.
    case echo
}

/// How long a run lasts.
package enum LoadLength: Equatable, Sendable {
    case milliseconds(Int64)
    /// Until this many records went through.
    case records(Int)
}

package struct LoadOptions: Sendable {
    package var mode: LoadMode
    package var connection: ConnectionOptions
    package var topic: String
    /// Makes the topic with so many partitions if it does not exist; nil: the broker decides.
    package var partitions: Int32?
    package var connections = 1
    /// Requests that wait for their answers, on each connection.
    package var inFlight = 1
    /// Threads that drive the connections.
    package var threads = 1
    /// Bytes of a record's value.
    package var recordSize = 1024
    /// About how many bytes a batch has (produce, publish) or a fetch takes at most. 0: one record,
    /// or 1 MiB.
    package var batchBytes = 0
    /// -1: all; 0: no answer.
    package var acks: Int16 = -1
    package var compression = CompressionType.none
    /// Records a second of each connection (publish-stream, latency, echo); 0: as fast as answers come.
    package var rate = 0
    /// What is written from now on, instead of what is there (subscribe).
    package var follows = false
    /// Whose jobs they are (work); empty: a group of its own.
    package var group = ""
    package var length = LoadLength.milliseconds(10_000)
    /// Load before counting starts; with a number of records there is none.
    package var warmupMs: Int64 = 0
    /// A process on this machine whose CPU time is reported.
    package var serverPid: Int32?

    package init(mode: LoadMode, connection: ConnectionOptions, topic: String) {
        self.mode = mode
        self.connection = connection
        self.topic = topic
    }

    /// Throws what a person got wrong.
    package func check() throws(ClientError) {
        func require(_ isFine: Bool, _ what: String) throws(ClientError) {
            guard isFine else { throw ClientError(.invalidArgument, what) }
        }
        try require(!topic.isEmpty, "--topic is empty: name a topic")
        try require((1...10_000).contains(connections), "--connections is a number from 1 to 10000")
        try require((1...100_000).contains(inFlight), "--in-flight is a number from 1 to 100000")
        try require((1...64).contains(threads), "--threads is a number from 1 to 64")
        try require((0...1_000_000).contains(rate), "--rate is at most 1000000 records a second")
        if mode == .work { try require(inFlight <= 10_000, "--in-flight is at most 10000 jobs") }
        if mode == .latency || mode == .echo {
            try require(connections == 1, "\(mode.rawValue) has one connection")
            try require(recordSize >= 8, "--record-size is 8 at least: a record holds its time")
        }
        let recordMax = 64 << 20
        try require((0...recordMax).contains(recordSize), "--record-size is at most \(recordMax)")
        try require((0...recordMax).contains(batchBytes), "--batch-bytes is at most \(recordMax)")
        try require((-1...1).contains(acks), "--acks is all, 1 or 0")
        switch length {
        case .milliseconds(let ms): try require(ms > 0, "--duration is more than nothing")
        case .records(let count): try require(count > 0, "--records is more than nothing")
        }
    }
}
