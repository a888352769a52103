// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: requests and answers of each method between Protocol Buffers and JSON, by swift-protobuf.
//
// The one table of what can be called by a name and JSON. A test compares it with the methods that are served.

import Contract
import GRPCWire
import NIOCore
import SwiftProtobuf

struct WebTranscoding: Sendable {
    let request: @Sendable (ByteBuffer) throws(GRPCStatus) -> ByteBuffer
    let answer: @Sendable (ByteBuffer) throws(GRPCStatus) -> ByteBuffer

    init<Request: SwiftProtobuf.Message, Answer: SwiftProtobuf.Message>(_ request: Request.Type, _ answer: Answer.Type) {
        self.request = { bytes throws(GRPCStatus) in
            guard bytes.readableBytes > 0 else { return bytes }
            do {
                let message = try Request(jsonUTF8Bytes: Array(bytes.readableBytesView))
                return ByteBuffer(bytes: try message.serializedBytes() as [UInt8])
            } catch {
                throw GRPCStatus(
                    .invalidArgument, "INVALID_MESSAGE", [("message", Request.protoMessageName)],
                    "the request is not the JSON of a \(Request.protoMessageName): \(JSONFault.text(error))")
            }
        }
        self.answer = { bytes throws(GRPCStatus) in
            do {
                let message = try Answer(serializedBytes: Array(bytes.readableBytesView))
                return ByteBuffer(bytes: try message.jsonUTF8Bytes() as [UInt8])
            } catch {
                throw GRPCStatus(
                    .internal, "ANSWER_UNREADABLE",
                    "an answer cannot be written as JSON; Protocol Buffers instead of JSON have it as it is")
            }
        }
    }

    /// By path.
    static let all: [String: WebTranscoding] = [
        "/martlet.v1.Streams/Publish": .init(Martlet_V1_PublishRequest.self, Martlet_V1_PublishResponse.self),
        "/martlet.v1.Streams/Subscribe": .init(Martlet_V1_SubscribeRequest.self, Martlet_V1_SubscribeResponse.self),
        "/martlet.v1.Streams/Commit": .init(Martlet_V1_CommitRequest.self, Martlet_V1_CommitResponse.self),
        "/martlet.v1.Streams/Committed": .init(Martlet_V1_CommittedRequest.self, Martlet_V1_CommittedResponse.self),
        "/martlet.v1.Admin/CreateTopic": .init(Martlet_V1_CreateTopicRequest.self, Martlet_V1_CreateTopicResponse.self),
        "/martlet.v1.Admin/ListTopics": .init(Martlet_V1_ListTopicsRequest.self, Martlet_V1_ListTopicsResponse.self),
        "/martlet.v1.Admin/DescribeTopic": .init(
            Martlet_V1_DescribeTopicRequest.self, Martlet_V1_DescribeTopicResponse.self),
        "/martlet.v1.Admin/DeleteTopic": .init(Martlet_V1_DeleteTopicRequest.self, Martlet_V1_DeleteTopicResponse.self),
        "/martlet.v1.Work/Redrive": .init(Martlet_V1_RedriveRequest.self, Martlet_V1_RedriveResponse.self),
        "/martlet.v1.Work/DescribeDeadLetters": .init(
            Martlet_V1_DescribeDeadLettersRequest.self, Martlet_V1_DescribeDeadLettersResponse.self),
        "/grpc.health.v1.Health/Check": .init(
            Grpc_Health_V1_HealthCheckRequest.self, Grpc_Health_V1_HealthCheckResponse.self),
        "/grpc.health.v1.Health/Watch": .init(
            Grpc_Health_V1_HealthCheckRequest.self, Grpc_Health_V1_HealthCheckResponse.self),
    ]
}
