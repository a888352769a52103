// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what is wrong with JSON, in words: the names that swift-protobuf has for it are its own.

import SwiftProtobuf

enum JSONFault {
    static func text(_ error: any Error) -> String {
        guard let error = error as? JSONDecodingError else { return "it does not follow JSON's grammar" }
        return switch error {
        case .failure, .schemaMismatch: "a value is of another kind than its field, or something that is no JSON stands there"
        case .malformedNumber, .leadingZero: "a number is not written as JSON has them"
        case .numberRange: "a number is outside the range of its field"
        case .malformedMap, .unquotedMapKey: "an object is not written as JSON has them: names stand in double quotes"
        case .malformedBool: "a value that is true or false is neither"
        case .malformedString: "a string is not written as JSON has them, or bytes are not base64"
        case .invalidUTF8: "it is not UTF-8"
        case .missingFieldNames: "a field has no name"
        case .unrecognizedEnumValue: "a name is none of those that its field takes"
        case .illegalNull: "null stands where a value is due"
        case .truncated: "it ends before it is complete"
        case .malformedDuration: "a duration is not written as 1.5s"
        case .malformedTimestamp: "a time is not written as 2026-01-31T12:00:00Z"
        case .malformedFieldMask: "a field mask is not a list of fields"
        case .trailingGarbage: "something follows the object"
        case .conflictingOneOf: "two fields are set of which only one may be"
        case .messageDepthLimit: "it is nested too deeply"
        case .unknownField(let name): "\(name) is not known here"
        }
    }
}
