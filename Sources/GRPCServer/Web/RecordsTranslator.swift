// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: `POST /v1/topics/{topic}/records`: records as JSON, for those who have only HTTP.
//
//   {"records": [{"key": "k", "value": "v", "headers": [{"key": "h", "value": "x"}], "timestampMs": 1}], "partition": 0}
//   -> {"offsets": [{"partition": 0, "offset": 41}]}, one for each record, in order
//
// `keyBase64` and `valueBase64` take bytes that are no text. What is not known is refused, so that a slip is not lost.

import Bytes
import Contract
import FoundationEssentials
import GRPCWire
import NIOCore
import SwiftProtobuf

final class RecordsTranslator: WebTranslator {
    private let topic: String
    private var body = WebBody()
    private var answer = ByteBuffer()

    init(topic: String) {
        self.topic = topic
    }

    func received(_ bytes: ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        try body.append(bytes)
        return ByteBuffer()
    }

    func receivedEnd() throws(GRPCStatus) -> ByteBuffer {
        let document: Google_Protobuf_Struct
        do {
            document = try Google_Protobuf_Struct(jsonUTF8Bytes: Array(body.bytes.readableBytesView))
        } catch {
            throw GRPCStatus(
                .invalidArgument, "INVALID_MESSAGE", "the request is not a JSON object: \(JSONFault.text(error))")
        }
        var request = Martlet_V1_PublishRequest()
        request.topic = topic
        for (name, value) in document.fields {
            switch name {
            case "partition": request.partition = Int32(try Self.whole(value, "partition", upTo: Int64(Int32.max)))
            case "records":
                guard case .listValue(let list)? = value.kind else {
                    throw .invalid("records", "records is a list of objects")
                }
                for (index, record) in list.values.enumerated() {
                    request.records.append(try Self.record(record, "records[\(index)]"))
                }
            default: throw .invalid(name, "\(name) is not known here; records and partition are")
            }
        }
        guard let bytes: [UInt8] = try? request.serializedBytes() else {
            preconditionFailure("a message without required fields can be encoded")
        }
        return .frame(ByteBuffer(bytes: bytes))
    }

    private static func record(
        _ value: Google_Protobuf_Value, _ at: String
    ) throws(GRPCStatus) -> Martlet_V1_PublishRecord {
        var record = Martlet_V1_PublishRecord()
        for (name, value) in try object(value, at) {
            let place = "\(at).\(name)"
            switch name {
            case "key": if let bytes = try text(value, place) { record.key = .init(bytes) }
            case "value": if let bytes = try text(value, place) { record.value = .init(bytes) }
            case "keyBase64": record.key = .init(try base64(value, place))
            case "valueBase64": record.value = .init(try base64(value, place))
            case "timestampMs": record.timestampMs = try whole(value, place, upTo: 1 << 53)
            case "headers":
                guard case .listValue(let list)? = value.kind else { throw .invalid(place, "\(place) is a list of objects") }
                for (index, entry) in list.values.enumerated() {
                    record.headers.append(try header(entry, "\(place)[\(index)]"))
                }
            default: throw .invalid(place, "\(place) is not known here")
            }
        }
        return record
    }

    private static func header(_ value: Google_Protobuf_Value, _ at: String) throws(GRPCStatus) -> Martlet_V1_Header {
        var header = Martlet_V1_Header()
        for (name, value) in try object(value, at) {
            let place = "\(at).\(name)"
            switch name {
            case "key": header.key = String(decoding: try text(value, place) ?? [], as: UTF8.self)
            case "value": if let bytes = try text(value, place) { header.value = .init(bytes) }
            case "valueBase64": header.value = .init(try base64(value, place))
            default: throw .invalid(place, "\(place) is not known here")
            }
        }
        return header
    }

    private static func object(
        _ value: Google_Protobuf_Value, _ at: String
    ) throws(GRPCStatus) -> [String: Google_Protobuf_Value] {
        guard case .structValue(let object)? = value.kind else { throw .invalid(at, "\(at) is an object") }
        return object.fields
    }

    /// nil: null.
    private static func text(_ value: Google_Protobuf_Value, _ at: String) throws(GRPCStatus) -> [UInt8]? {
        switch value.kind {
        case .stringValue(let text)?: Array(text.utf8)
        case .nullValue?: nil
        default: throw .invalid(at, "\(at) is a string or null; other JSON goes in as its text")
        }
    }

    private static func base64(_ value: Google_Protobuf_Value, _ at: String) throws(GRPCStatus) -> [UInt8] {
        guard case .stringValue(let text)? = value.kind, let bytes = Base64.decode(text.utf8) else {
            throw .invalid(at, "\(at) is not base64")
        }
        return bytes
    }

    private static func whole(_ value: Google_Protobuf_Value, _ at: String, upTo limit: Int64) throws(GRPCStatus) -> Int64 {
        guard case .numberValue(let number)? = value.kind, let whole = Int64(exactly: number), (0...limit).contains(whole)
        else { throw .invalid(at, "\(at) is a whole number from 0 on") }
        return whole
    }

    func begin() -> WebHead? { nil }

    func answer(_ frames: ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        var frames = frames
        guard let message = frames.readFrames().first,
            let response = try? Martlet_V1_PublishResponse(serializedBytes: Array(message.readableBytesView))
        else { throw GRPCStatus(.internal, "ANSWER_UNREADABLE", "an answer cannot be read; this is an error of the broker") }
        var offsets: [(position: Int32, text: String)] = []
        for batch in response.batches {
            for (index, position) in batch.recordPositions.enumerated() {
                offsets.append(
                    (position, "{\"partition\":\(batch.partition),\"offset\":\(batch.baseOffset + Int64(index))}"))
            }
        }
        offsets.sort { $0.position < $1.position }
        answer = ByteBuffer(string: "{\"offsets\":[\(offsets.map(\.text).joined(separator: ","))]}\n")
        return ByteBuffer()
    }

    func end(_ status: GRPCStatus) -> (head: WebHead, body: ByteBuffer) {
        status.code == .ok
            ? (WebHead(contentType: "application/json"), answer)
            : (WebHead(status: status.httpStatus, contentType: "application/json"), ConnectError.json(status))
    }
}
