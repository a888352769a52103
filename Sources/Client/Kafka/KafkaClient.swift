// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: a blocking view of a Kafka cluster, for command lines.
//
// Owned by one thread, never an event loop: every call waits for its answer. Opens one connection
// to the address it was given and one to each partition leader it needs. Retries what brokers ask
// to be retried (a topic that is just being made, a leader that moved), within the options' time.

import Glibc
import KafkaWire
import NIOCore
import NIOPosix
import Records

/// A partition, found.
package struct PartitionLeader: Equatable, Sendable {
    package var partition: Int32
    package var leader: Endpoint
}

/// Talks to a cluster from a thread that may wait.
package final class KafkaClient {
    package let options: ConnectionOptions
    private let dialer: Dialer
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private var connections: [Endpoint: KafkaConnection] = [:]
    /// Fetch up to here names topics, later versions want their ids.
    static let fetchVersionLimit: Int16 = 12

    package init(_ options: ConnectionOptions) throws(ClientError) {
        self.options = options
        dialer = try Dialer(options)
    }

    deinit {
        for connection in connections.values { connection.close() }
        try? group.syncShutdownGracefully()
    }

    /// The connection to an address; made if there is none.
    package func connection(to endpoint: Endpoint) throws(ClientError) -> KafkaConnection {
        if let known = connections[endpoint], known.channel.isActive { return known }
        let made = try wait(KafkaConnection.connect(to: endpoint, with: dialer, on: group.next()))
        connections[endpoint] = made
        return made
    }

    /// The leaders of a topic's partitions, by partition. `creates`: an unknown topic may come to
    /// be.
    package func leaders(
        of topic: String, creates: Bool
    ) throws(ClientError) -> [PartitionLeader] {
        var request = MetadataRequest()
        var wanted = MetadataRequest.Topic()
        wanted.name = topic
        request.topics = [wanted]
        request.allowAutoTopicCreation = creates
        let deadline = NIODeadline.now() + .milliseconds(options.requestTimeoutMs)
        while true {
            // Version 4 is the first that can say no to the creation of the topic.
            let answer = try wait(connection(to: options.endpoint).send(request))
            guard let found = answer.topics.first else {
                throw ClientError(.badAnswer, "\(options.endpoint) answered without the topic")
            }
            if found.errorCode == .none, let leaders = leaders(found, in: answer) { return leaders }
            let isPassing =
                found.errorCode == .none || found.errorCode == .leaderNotAvailable
                || (creates && found.errorCode == .unknownTopicOrPartition)
            guard isPassing, .now() < deadline else { throw Self.refusal(found.errorCode, topic) }
            usleep(Self.retryMicroseconds)
        }
    }

    /// nil while a partition has no leader.
    private func leaders(
        _ topic: MetadataResponse.Topic, in answer: MetadataResponse
    ) -> [PartitionLeader]? {
        var leaders: [PartitionLeader] = []
        for partition in topic.partitions {
            guard let broker = answer.brokers.first(where: { $0.nodeId == partition.leaderId })
            else { return nil }
            leaders.append(
                PartitionLeader(
                    partition: partition.partitionIndex,
                    leader: Endpoint(host: broker.host, port: Int(broker.port))))
        }
        return leaders.isEmpty ? nil : leaders.sorted { $0.partition < $1.partition }
    }

    /// Makes a topic; nothing happens if it exists.
    package func createTopic(_ name: String, partitions: Int32) throws(ClientError) {
        var topic = CreateTopicsRequest.Topic()
        topic.name = name
        topic.numPartitions = partitions
        topic.replicationFactor = 1
        var request = CreateTopicsRequest()
        request.topics = [topic]
        request.timeoutMs = Int32(clamping: options.requestTimeoutMs)
        let answer = try wait(connection(to: options.endpoint).send(request))
        guard let made = answer.topics.first else {
            throw ClientError(.badAnswer, "\(options.endpoint) answered without the topic")
        }
        guard made.errorCode == .none || made.errorCode == .topicAlreadyExists else {
            throw Self.refusal(made.errorCode, name, made.errorMessage)
        }
    }

    /// The offset at a timestamp, or at one of `ListOffsetsRequest.SpecialTimestamp`; -1 for none.
    package func offset(
        atTimestamp timestamp: Int64, topic: String, partition: PartitionLeader
    ) throws(ClientError) -> Int64 {
        var wanted = ListOffsetsRequest.Partition()
        wanted.partitionIndex = partition.partition
        wanted.timestamp = timestamp
        var wantedTopic = ListOffsetsRequest.Topic()
        wantedTopic.name = topic
        wantedTopic.partitions = [wanted]
        var request = ListOffsetsRequest()
        request.topics = [wantedTopic]
        let answer = try wait(connection(to: partition.leader).send(request))
        guard let found = answer.topics.first?.partitions.first else {
            throw ClientError(.badAnswer, "\(partition.leader) answered without the partition")
        }
        guard found.errorCode == .none else { throw Self.refusal(found.errorCode, topic) }
        return found.offset
    }

    /// Waits for an answer.
    package func wait<Value: Sendable>(_ future: EventLoopFuture<Value>) throws(ClientError)
        -> Value
    {
        do {
            return try future.wait()
        } catch {
            throw ClientError(describing: error, on: options.endpoint)
        }
    }

    /// The words for an error code about a topic.
    static func refusal(
        _ code: KafkaErrorCode, _ topic: String, _ message: String? = nil
    ) -> ClientError {
        let reason =
            switch code {
            case .unknownTopicOrPartition:
                "there is no such topic or partition; 'martlet topic create' makes one"
            case .topicAuthorizationFailed: "this identity has no permission for it"
            case .invalidTopicException:
                "the name is not allowed: letters, digits, '.', '_' and '-', at most 249"
            case .messageTooLarge:
                "the batch is larger than the topic's max.message.bytes; send less at once"
            case .offsetOutOfRange: "the offset is not in the log; try --from earliest"
            case .invalidRecord: "the broker finds the records invalid"
            case .notEnoughReplicas, .kafkaStorageError: "the broker cannot write: see its log"
            default: "the broker says no"
            }
        let detail = message.map { " (\($0))" } ?? ""
        return ClientError(.refused, "topic '\(topic)': \(reason) [\(code.name)]\(detail)")
    }

    private static let retryMicroseconds: UInt32 = 100_000
}
