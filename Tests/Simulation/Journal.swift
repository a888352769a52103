// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: the plain model of what PublishStream wrote, request by request.
//
// Streams write to a topic of their own: there the requests of many calls share a batch, which the model of batches (`Model`) could
// not tell apart. Values are like no other, so each record tells which request it came with.

/// One request of one stream.
final class JournalRequest {
    enum Fate: Equatable {
        /// Not answered, or not clearly: it may be there, as a whole or not at all.
        case unknown
        /// Durable, its first record at this offset.
        case acknowledged(Int64)
        /// Not there, now or later.
        case refused
    }

    let stream: Int
    let partition: Int32
    let values: [String]
    var fate = Fate.unknown

    init(stream: Int, partition: Int32, values: [String]) {
        self.stream = stream
        self.partition = partition
        self.values = values
    }
}

final class Journal {
    static let topic = "journal"
    static let partitions: Int32 = 2

    /// Whether the topic's creation was acknowledged.
    var isThere = false
    /// In the order in which they were sent.
    private(set) var requests: [JournalRequest] = []
    private var byValue: [String: (request: JournalRequest, index: Int)] = [:]
    private var streams = 0

    func openStream() -> Int {
        streams += 1
        return streams
    }

    /// A request that is about to be sent, with so many records of about this size.
    func add(stream: Int, partition: Int32, count: Int, size: Int) -> JournalRequest {
        let values = (0..<count).map { "\(requests.count)/\($0)/" + String(repeating: "x", count: size) }
        let request = JournalRequest(stream: stream, partition: partition, values: values)
        for (index, value) in values.enumerated() { byValue[value] = (request, index) }
        requests.append(request)
        return request
    }

    func find(_ value: String) -> (request: JournalRequest, index: Int)? { byValue[value] }
}
