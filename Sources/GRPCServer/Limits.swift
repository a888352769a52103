// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the bounds of a gRPC connection. Those of HTTP/2 itself are in HTTP2Configuration.

/// Each bound has a defined answer when it is reached, given beside it.
package enum Limits {
    /// Largest request message, and largest it may become by decompression; larger: RESOURCE_EXHAUSTED.
    package static let messageBytes = 4 << 20
    /// Bytes of incomplete messages of one connection; beyond it the call that brings more: RESOURCE_EXHAUSTED.
    static let bufferedRequestBytes = 64 << 20
    /// An unfinished request up to this size is not counted among those of all connections (queued.max.request.bytes); beyond
    /// that bound the call that brings more: RESOURCE_EXHAUSTED.
    static let unsharedRequestBytes = 8 << 10
    /// Bytes collected for one write to the channel.
    static let writeBytes = 128 << 10
    /// Writes of one connection before the other connections of its loop have their turn.
    static let writesPerTurn = 8
    /// An outbound buffer larger than this is given back after use instead of kept.
    static let keptWriteBytes = 16 << 10
    /// Answers of one bidirectional call that wait to be sent; beyond it no more of its requests are read.
    static let queuedAnswerBytes = 64 << 10
    /// Requests of one PublishStream without a written result, each counted with what is kept about it; beyond it no more are
    /// read until half of it is answered.
    static let publishStreamBytes = 4 << 20
    static let heldRequestBytes = 128
    /// Bytes of Publish requests of one connection that wait because their client is over its quota; the call that brings more:
    /// RESOURCE_EXHAUSTED.
    static let delayedPublishBytes = 4 << 20
    /// Bytes of a client id; longer: INVALID_ARGUMENT.
    static let clientIdBytes = 255
    /// Calls of one connection that wait because their clients are over a quota: half of its streams, so that others can call. One
    /// more: RESOURCE_EXHAUSTED.
    static let heldCalls = 512
    /// Results in one message of a PublishStream.
    static let publishResultsBytes = 64 << 10
    /// Records of several requests share a batch up to this size.
    package static let gatheredBatchBytes = 1 << 20
    /// Partitions of one subscription, and offsets of one commit; more: INVALID_ARGUMENT.
    static let partitionsPerRequest = 10_000
    /// Bytes of records in one message of a subscription unless asked otherwise, and the most that can be asked for.
    static let subscribeMessageBytes = 256 << 10
    static let subscribeMessageBytesMax = 4 << 20
    /// A subscription's message is at least about this large, however small the peer's window.
    static let subscribeMessageBytesMin = 16 << 10
    /// Bytes read from the log at once, unless one batch is larger.
    static let subscribeReadBytes = 256 << 10
    /// Bytes looked at for one message; then the loop's other connections have their turn.
    static let subscribeScanBytes = 2 << 20
    /// How long a group waits for a member to give up what it is to lose.
    static let memberRebalanceMs: Int32 = 60_000
    /// How long a member may read nothing although there is something, in ms, and what it can ask for; others: INVALID_ARGUMENT.
    static let memberPollIntervalMs: Int64 = 300_000
    static let memberPollIntervalsMs: ClosedRange<UInt32> = 1000...86_400_000
    /// Milliseconds between progress messages; others: INVALID_ARGUMENT.
    static let progressIntervalMs: ClosedRange<UInt32> = 100...3_600_000
    /// Largest record section that is decompressed; a larger one ends the subscription with RESOURCE_EXHAUSTED.
    static let decompressedBatchBytes = 128 << 20
    /// A subscriber that takes nothing for this long gives back what was read for it and not yet sent.
    static let stalledSubscriberSeconds: Int64 = 1
    /// Bytes of a commit's metadata (Kafka's offset.metadata.max.bytes); more: INVALID_ARGUMENT.
    static let commitMetadataBytes = 4096
    /// Items that a worker holds unless it asks otherwise, and the most that it can ask for; more: INVALID_ARGUMENT.
    static let workItems = 100
    static let workItemsMax = 10_000
    /// Stretches of redriven letters in one answer; of more the answer says that it is incomplete.
    static let redrivenRanges = 100_000
    /// The shortest lease, in ms; shorter: INVALID_ARGUMENT.
    static let leaseMsMin = 100
    /// Topics of one worker; more: INVALID_ARGUMENT.
    static let topicsPerWorker = 1_000
    /// Deliveries that one request settles; more: INVALID_ARGUMENT.
    static let deliveriesPerRequest = 10_000
    /// The longest delay of a nack, in ms (seven days); longer: INVALID_ARGUMENT.
    static let nackDelayMsMax: UInt64 = 604_800_000
    /// Bytes of a reject's reason; more: INVALID_ARGUMENT.
    static let rejectReasonBytes = 1024
    /// Items of one message to a worker, and about how many bytes they have.
    static let itemsPerMessage = 500
    static let itemBytesPerMessage = 256 << 10
    /// Messages of this size are compressed, for calls that ask for it; others go as they are.
    static let compressedAnswerBytes = 1024...(4 << 20)
    /// Calls of Health.Watch over all connections; more: RESOURCE_EXHAUSTED.
    static let healthWatchers = 10_000
    /// How long a connection waits, after GOAWAY, for calls that were on their way, if the peer answers no ping.
    static let goAwaySeconds: Int64 = 1
    /// A call that goes on for longer is ended then, if it came with a token that is good for longer.
    static let tokenTimerMs: Int64 = 365 * 24 * 3_600_000
}
