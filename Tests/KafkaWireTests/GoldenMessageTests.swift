// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: every message in every version against bytes made by kafka-python from
// Apache Kafka's own message definitions (`golden/generate.py`). Field order, versions, types, null
// and tags must all agree, or the bytes differ.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct GoldenMessageTests {
    struct Key: Hashable {
        let name: String
        let version: Int16
        let content: FillingCoder.Content
    }

    /// Of a line `Produce Request 3 full`.
    private func vectors() throws -> [Key: ByteBuffer] {
        var vectors: [Key: ByteBuffer] = [:]
        for vector in try GoldenFile.read("messages.txt") {
            let version = try #require(Int16(vector.words[2]))
            let content = vector.words[3] == "full" ? FillingCoder.Content.full : .sparse
            let name = vector.words[0] + vector.words[1]
            vectors[Key(name: name, version: version, content: content)] = vector.bytes
        }
        return vectors
    }

    @Test func everyMessageInEveryVersionHasTheBytesOfKafkasDefinitions() throws {
        var vectors = try vectors()
        for message in CataloguedMessage.all {
            for version in message.versions {
                for content in [FillingCoder.Content.full, .sparse] {
                    let key = Key(name: message.name, version: version, content: content)
                    let vector = vectors.removeValue(forKey: key)
                    let golden = try #require(vector, "no vector for \(key)")
                    #expect(try message.filled(version, content) == golden, "\(key)")
                    #expect(try message.decodesToFilled(golden, version, content), "\(key)")
                }
            }
        }
        #expect(vectors.isEmpty, "vectors of versions that ApiTable does not have")
    }

    @Test func everyFieldHasTheNameThatItHasInKafkasDefinitions() throws {
        let vectors = try vectors()
        let descriptions = try GoldenFile.lines("fields.txt")
        let names = Set(descriptions.map { $0[0] + $0[1] })
        #expect(names == Set(CataloguedMessage.all.map(\.name)))
        for words in descriptions {
            let name = words[0] + words[1]
            let message = try #require(CataloguedMessage.all.first { $0.name == name })
            let version = try #require(Int16(words[2]))
            let bytes = try #require(
                vectors[Key(name: message.name, version: version, content: .full)])
            let fields = try message.fields(bytes, version)
            for field in words[3...] {
                #expect(fields.contains(field), "\(message.name) v\(version): \(field)")
            }
        }
    }
}
