// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the descriptors of the contract, found by file name and by symbol.
//
// Built from the bytes that proto/generate.sh committed, when the first client asks: start-up does not pay for it. Immutable.

import Bytes
import Contract
import GRPCWire
import SwiftProtobuf

struct DescriptorIndex: Sendable {
    private var files: [String: Google_Protobuf_FileDescriptorProto] = [:]
    private var fileOfSymbol: [String: String] = [:]
    private var messages: Set<String> = []

    static let contract = DescriptorIndex()

    private init() {
        do {
            let set = try Google_Protobuf_FileDescriptorSet(
                serializedBytes: Base64.decode(fileDescriptorSetBase64.description.utf8) ?? [])
            for file in set.file { add(file) }
        } catch {
            preconditionFailure("the committed descriptors cannot be read; run make proto: \(error)")
        }
    }

    /// The file and what it imports, serialized; nil if there is no such file.
    func files(named name: String) -> [[UInt8]]? {
        guard files[name] != nil else { return nil }
        var wanted = [name]
        var found: [[UInt8]] = []
        var seen: Set<String> = [name]
        while let next = wanted.popLast() {
            guard let file = files[next], let bytes: [UInt8] = try? file.serializedBytes() else { continue }
            found.append(bytes)
            for dependency in file.dependency where seen.insert(dependency).inserted { wanted.append(dependency) }
        }
        return found
    }

    /// The same for the file that defines a fully-qualified name.
    func files(containing symbol: String) -> [[UInt8]]? {
        fileOfSymbol[symbol].flatMap { files(named: $0) }
    }

    func isMessage(_ name: String) -> Bool { messages.contains(name) }

    private mutating func add(_ file: Google_Protobuf_FileDescriptorProto) {
        files[file.name] = file
        let scope = file.package.isEmpty ? "" : file.package + "."
        for message in file.messageType { add(message, scope, file.name) }
        for type in file.enumType { add(type, scope, file.name) }
        for service in file.service {
            fileOfSymbol[scope + service.name] = file.name
            for method in service.method { fileOfSymbol["\(scope)\(service.name).\(method.name)"] = file.name }
        }
    }

    private mutating func add(_ message: Google_Protobuf_DescriptorProto, _ scope: String, _ file: String) {
        let name = scope + message.name
        fileOfSymbol[name] = file
        messages.insert(name)
        for field in message.field { fileOfSymbol["\(name).\(field.name)"] = file }
        for oneof in message.oneofDecl { fileOfSymbol["\(name).\(oneof.name)"] = file }
        for nested in message.nestedType { add(nested, name + ".", file) }
        for nested in message.enumType { add(nested, name + ".", file) }
    }

    /// An enum's values are symbols of the scope that the enum is in.
    private mutating func add(_ type: Google_Protobuf_EnumDescriptorProto, _ scope: String, _ file: String) {
        fileOfSymbol[scope + type.name] = file
        for value in type.value { fileOfSymbol[scope + value.name] = file }
    }
}
